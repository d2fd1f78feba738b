"""What leaves a library: what is gone from a folder that is there, and what is to be forgotten."""

import os
from pathlib import Path

import pytest

from demul_mm.app.library import Library
from demul_mm.app.watch import watch
from tests.app.films import ColourEncoder, write_film


@pytest.fixture
def lib(tmp_path: Path) -> Library:
    return Library(tmp_path / 'library', ColourEncoder)


def names(lib: Library) -> list[str]:
    return [Path(row.path).name for row in lib.catalogue.videos('indexed')]


def test_a_file_that_was_given_is_looked_for_again(lib: Library, tmp_path: Path) -> None:
    """Its folder is there, so it is forgotten; and it is a source until it is to be forgotten."""
    films = tmp_path / 'films'
    one, two = write_film(films / 'one.mp4', ['red']), write_film(films / 'two.mp4', ['blue'])
    lib.update([films, one])
    one.unlink()
    assert lib.update([films]) == (0, 1, 1, [])  # it is gone from another source
    for sources in ([], [one, two], [one], []):
        assert lib.update(sources)[2:] == (0, [])
    assert names(lib) == ['two.mp4']
    write_film(one, ['green'])
    assert lib.update([one]) == (1, 0, 0, [])
    one.unlink()
    assert lib.update([one]) == (0, 0, 1, [])
    assert lib.forget(one)[2] == 0
    assert lib.catalogue.setting('roots') == [str(films), str(two)]
    with pytest.raises(FileNotFoundError, match=r'one\.mp4 is missing; nothing was changed$'):
        lib.update([one])


@pytest.mark.parametrize('given', [True, False])
def test_watching_goes_on_without_a_file(lib: Library, tmp_path: Path, given: bool) -> None:
    one = write_film(tmp_path / 'one.mp4', ['red'])
    lib.update(one)
    happens = [
        one.unlink,
        lambda: None,
        lambda: write_film(one, ['blue']),
        lambda: None,
    ]
    looks = watch(lib, [one] if given else [], 0.1, wait=lambda _: happens.pop(0)())
    told = [next(looks)[:3] for _ in range(5)]
    assert told == [(0, 1, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0), (1, 0, 0)]


def test_a_source_that_is_away_can_be_forgotten(lib: Library, tmp_path: Path) -> None:
    one = write_film(tmp_path / 'films/one.mp4', ['red'])
    lib.update(one)
    (tmp_path / 'films').rename(tmp_path / 'away')
    told = f'films is missing; nothing was changed; .*for good: demul index --forget {one}$'
    with pytest.raises(FileNotFoundError, match=told):
        lib.update()
    assert lib.forget(one)[2] == 1


def test_each_source_remembers_its_disk(
    lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, mounted = tmp_path / 'films/disk', [str(tmp_path / 'films/disk')]
    monkeypatch.setattr(os.path, 'ismount', lambda path: str(path) in mounted)
    one = write_film(disk / 'one.mp4', ['red'])
    write_film(disk / 'below/two.mp4', ['green'])
    write_film(tmp_path / 'films/three.mp4', ['blue'])
    write_film(tmp_path / 'more/four.mp4', ['blue'])
    lib.update([tmp_path / 'films', tmp_path / 'more'])
    lib.update([tmp_path / 'more'])
    mounted.clear()
    one.rename(tmp_path / 'one.mp4')
    for _ in range(2):
        report = lib.update()
        assert report[:3] == (0, 3, 0)
        ((place, told),) = report.broken
        assert place == str(disk)
        # Not the folder: there are videos in it.
        assert told.endswith(f'is kept (1; if it is gone for good: demul index --forget {one})')
    (tmp_path / 'one.mp4').rename(one)
    assert lib.update() == (0, 4, 0, [])
    one.unlink()  # all was there without the disk, so its place is a folder like any other
    assert lib.update() == (0, 3, 1, [])


def test_forgetting_takes_the_sources_that_it_names(lib: Library, tmp_path: Path) -> None:
    films, other = tmp_path / 'films', tmp_path / 'other'
    paths = [
        write_film(tmp_path / name, ['red'])
        for name in ('films/a.mp4', 'films/b.mov', 'films/below/c.mp4', 'other/d.mp4')
    ]
    lib.update(paths)
    assert lib.forget(films / '*.mp4')[2] == 1
    assert lib.forget(films)[2] == 2
    assert lib.catalogue.setting('roots') == [str(other / 'd.mp4')]
    lib.update([films, films / 'a.mp4'])
    for source in (films / 'below', films / '**/*.mp4', tmp_path / 'nowhere'):
        if source.name == '*.mp4':
            assert lib.forget(source)[2] == 0  # out of the sources, but in another one, too
        with pytest.raises(ValueError, match=r'no source .* was given, and no video in it is mis'):
            lib.forget(source)
    assert len(names(lib)) == 4
    (films / 'below/c.mp4').unlink()
    assert lib.forget(films / 'below')[2] == 1
    (films / 'a.mp4').unlink()
    assert lib.forget(films)[2] == 2
    assert lib.update() == (0, 1, 0, [])


def test_forgetting_goes_on_after_a_kill(
    lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('one.mp4', 'two.mp4'):
        write_film(tmp_path / 'films' / name, ['red'])
    lib.update(tmp_path / 'films')

    def forget(path: str, forget=lib.catalogue.forget) -> None:
        if path.endswith('two.mp4'):
            raise KeyboardInterrupt
        forget(path)

    with monkeypatch.context() as patch:
        patch.setattr(lib.catalogue, 'forget', forget)
        with pytest.raises(KeyboardInterrupt):
            lib.forget(tmp_path / 'films')
    assert lib.catalogue.setting('roots') == [str(tmp_path / 'films')]
    assert lib.forget(tmp_path / 'films')[2] == 1
