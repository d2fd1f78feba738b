"""A library is what its folders hold, whatever happens while it is made."""

import errno
import os
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from mmengine.logging import MMLogger

from demul_mm.app.asking import ask
from demul_mm.app.library import Library
from demul_mm.app.rank_fusion import Hit
from demul_mm.app.sources import find_videos, state_key
from demul_mm.app.video_model import FrameModel
from demul_mm.index import MomentIndex
from tests.app.films import ColourEncoder, write_film, write_subtitles
from tests.warm import SERVER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_film(tmp_path / 'films/one.mp4', ['black', 'red', 'black'])
    write_film(tmp_path / 'films/below/two.mp4', ['blue', 'black', 'green'])
    return tmp_path / 'films'


def library(tmp_path: Path, encoder: ColourEncoder | None = None) -> Library:
    return Library(tmp_path / 'library', lambda name: encoder or ColourEncoder(name))


def names(of: Library) -> set[str]:
    return {Path(row.path).name for row in of.catalogue.videos('indexed')}


def test_a_moment_is_found_by_its_picture(tmp_path: Path, folder: Path) -> None:
    lib = library(tmp_path)
    assert lib.update([folder])[:3] == (2, 0, 0)
    for colour, name, start in (('red', 'one.mp4', 3), ('green', 'two.mp4', 6)):
        best = lib.search(f'something {colour}')[0]
        assert Path(best.path).name == name
        assert start <= best.start < best.end <= start + 3
        assert best.why[0].startswith('picture')
        own = lib.ask(best.path, f'something {colour}')[0]
        assert (own.start, own.end) == pytest.approx((start, start + 3), abs=1e-3)


def test_borders_are_where_the_video_stops_to_fit(tmp_path: Path) -> None:
    """No window of 1, 2, 4, ... frames has them; all windows of the moment become one answer."""
    colours = ['black'] * 4 + ['red'] * 5 + ['black'] * 6 + ['red'] * 3 + ['blue'] * 4
    write_film(tmp_path / 'films/one.mp4', colours, seconds=1)
    lib = library(tmp_path)
    lib.update([tmp_path / 'films'])
    found = [(hit.start, hit.end) for hit in lib.search('something red', 3)]
    assert sorted(found[:2]) == [pytest.approx((4, 9), abs=1e-3), pytest.approx((15, 18), abs=1e-3)]
    (row,) = lib.catalogue.videos()
    again = lib.search('something red', 3, liked=[(row.key, *found[0])])
    assert (again[0].start, again[0].end) == found[0]  # feedback moves no borders
    for own in (lib.ask_kept(row.key, 'something red'), lib.ask(row.path, 'something red')):
        assert (own[0].start, own[0].end) in found[:2]


@pytest.mark.parametrize('harm', ['deleted', 'emptied', 'cut', 'other'])
def test_what_is_kept_of_a_video_may_be_damaged(tmp_path: Path, folder: Path, harm: str) -> None:
    """The index still answers, with its windows as they are."""
    lib = library(tmp_path)
    lib.update([folder])
    whole = lib.search('something red', 10, ['picture'])
    file = lib._file(whole[0].key)
    content = file.read_bytes()
    harmed = {'emptied': b'', 'cut': content[:-40], 'other': b'no archive'}
    file.unlink() if harm == 'deleted' else file.write_bytes(harmed[harm])
    found = lib.search('something red', 10, ['picture'])
    assert found[0].key == whole[0].key
    assert found[0].score == whole[0].score
    file.unlink(missing_ok=True)  # as the warning says
    lib.update()
    assert file.read_bytes()
    assert lib.search('something red', 10, ['picture']) == whole


def test_moments_keep_to_shots(tmp_path: Path) -> None:
    pytest.importorskip('scenedetect')
    cuts, folder = [0, 5, 8, 9, 12, 15], tmp_path / 'films'
    shots = ['red', 'black', 'blue', 'black', 'red']
    seconds = [c for colour, n in zip(shots, np.diff(cuts)) for c in [colour] * n]
    write_film(folder / 'one.mp4', seconds, seconds=1)
    lib = Library(tmp_path / 'library', ColourEncoder, shots=True)
    encoder = lib.encoder
    lib.update([folder])
    assert encoder.pictures == 15
    (row,) = lib.catalogue.videos()
    spans = lib.entry(row.key).spans.round(3)
    whole = spans[(spans[:, 1] - spans[:, 0]) > 0][np.isin(spans, cuts).all(1)]
    for start, end in spans:
        crossed = [cut for cut in cuts if start < cut < end]
        assert not crossed or [start, end] in whole.tolist()
    assert set(pairwise(cuts)) <= {tuple(span) for span in whole.tolist()}
    best = {(hit.start, hit.end) for hit in lib.search('blue', 1)}
    assert best == {(8.0, 9.0)}
    # The library goes on as it was made.
    assert Library(tmp_path / 'library', ColourEncoder).video_model.recipe == '1 s, shots'


def test_what_a_library_is_made_with_counts_until_something_is_encoded(
    tmp_path: Path, folder: Path
) -> None:
    """Then it is fixed, and another --seconds, --shots or encoder is refused, each time."""
    (tmp_path / 'inbox').mkdir()

    def make(*options: float | bool | None, encoder: ColourEncoder | None = None) -> Library:
        sources = [tmp_path / 'inbox']
        lib = Library.make(
            tmp_path / 'library', lambda _: encoder or ColourEncoder(), sources, *options
        )
        lib.update(sources)
        return lib

    for seconds, shots in ((2.0, None), (None, True), (0.5, None)):
        lib = make(seconds, shots)
        assert (lib.seconds, lib.shots) == (seconds or 1.0, bool(shots))
    folder.rename(tmp_path / 'inbox/films')
    trained = ColourEncoder()
    trained.video_model = FrameModel(trained, 1.0)
    with pytest.raises(ValueError, match='leave --shots out'):
        make(0.5, True, encoder=trained)
    for options in ((0.5, None), (0.5, False), ()):
        lib = make(*options)
        assert (lib.seconds, lib.shots) == (0.5, False)
        assert [len(lib.frames(row.key)[0]) for row in lib.catalogue.videos()] == [18, 18]
    for options, told in (
        ((1.0,), 'has frames every 0.5 s, not every 1 s; leave --seconds out'),
        ((None, True), 'do not keep to shots; leave --shots out'),
        ((None, None, 'http://there:19530'), 'in its folder, not in http://there'),
    ):
        with pytest.raises(ValueError, match=told):
            make(*options)
    lib = library(tmp_path, ColourEncoder(weights='w2'))
    for _ in range(2):
        with pytest.raises(ValueError, match='was made with the encoder colours'):
            lib.search('red')


@pytest.mark.parametrize('seconds', [0.0, -1.0, float('nan'), float('inf'), 1e9])
def test_seconds_between_frames_that_no_video_has(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match='give seconds above 0, 3600 at most'):
        Library(tmp_path / 'library', ColourEncoder, seconds)


def test_as_many_moments_as_are_asked_for(tmp_path: Path) -> None:
    write_film(tmp_path / 'films/0.mp4', ['red'], seconds=1)
    for number in range(1, 110):
        shutil.copy(tmp_path / 'films/0.mp4', tmp_path / f'films/{number}.mp4')
    write_subtitles(tmp_path / 'films/0.srt', [(i / 200, 1, f'red {i}') for i in range(110)])
    lib = library(tmp_path)
    lib.update(tmp_path / 'films')
    for kind in ('picture', 'text'):
        assert len(lib.search('red', 500, [kind])) == 110
        assert len(lib.search('red', 10, [kind])) == 10


def test_ask_does_not_need_the_library(tmp_path: Path, folder: Path) -> None:
    best = library(tmp_path).ask(folder / 'one.mp4', 'red')[0]
    assert 3 <= best.start < best.end <= 6
    assert ask(folder / 'one.mp4', 'red', ColourEncoder)[0] == best
    with pytest.raises(FileNotFoundError, match='no video file'):
        library(tmp_path).ask(folder / 'none.mp4', 'red')


def test_only_what_changed_is_encoded(tmp_path: Path, folder: Path) -> None:
    encoder = ColourEncoder()
    lib = library(tmp_path, encoder)
    lib.update([folder])
    seen = encoder.pictures
    assert seen == 18
    assert lib.update()[:3] == (0, 2, 0)
    assert encoder.pictures == seen
    write_film(folder / 'three.mp4', ['green'])
    os.remove(folder / 'below/two.mp4')
    write_film(folder / 'one.mp4', ['blue', 'blue'])
    assert lib.update()[:3] == (2, 0, 1)
    assert encoder.pictures == seen + 9
    assert names(lib) == {'one.mp4', 'three.mp4'}
    assert {Path(hit.path).name for hit in lib.search('green', 100)} == names(lib)
    assert lib.search('red')[0].score == pytest.approx(1 / 61)
    assert len(list((lib.path / 'frames').rglob('*.npz'))) == 2


def test_an_update_without_news_loads_no_model(tmp_path: Path, folder: Path) -> None:
    library(tmp_path).update([folder])
    again = Library(tmp_path / 'library', lambda name: pytest.fail(f'{name} is loaded'))
    assert again.update() == (0, 2, 0, [])


def test_what_is_elsewhere_is_not_forgotten(tmp_path: Path, folder: Path) -> None:
    lib = library(tmp_path)
    lib.update([folder / 'one.mp4'])
    assert lib.update([folder / 'below'])[:3] == (1, 0, 0)
    assert names(lib) == {'one.mp4', 'two.mp4'}
    folder.rename(tmp_path / 'moved')
    with pytest.raises(FileNotFoundError, match='nothing was changed'):
        lib.update()
    assert names(lib) == {'one.mp4', 'two.mp4'}
    (tmp_path / 'moved').rename(folder)
    os.remove(folder / 'one.mp4')
    folder.rename(tmp_path / 'films2')
    (tmp_path / 'films2').rename(folder)
    write_film(folder / 'one.mp4', ['red'])
    assert lib.update()[0] == 1


def kept(lib: Library) -> int:
    return len(list((lib.path / 'frames').glob('*/*')))


@pytest.mark.parametrize('kind', ['link', 'unreadable', 'unmounted', 'emptied'])
def test_what_is_out_of_reach_is_kept_and_told(
    kind: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = folder / 'below'
    if kind == 'link':
        disk.rename(tmp_path / 'disk')
        disk.symlink_to(tmp_path / 'disk')
    mounted = [str(disk)] if kind == 'unmounted' else []
    monkeypatch.setattr(os.path, 'ismount', lambda path: str(path) in mounted)
    lib = library(tmp_path)
    roots = [disk, folder] if kind == 'emptied' else [folder]
    lib.update(roots)
    two = (disk / 'two.mp4').read_bytes()
    listed = os.scandir
    if kind == 'unreadable':

        def scandir(path: str) -> Any:
            if str(path) == str(disk):
                raise PermissionError(errno.EACCES, 'Permission denied', str(path))
            return listed(path)

        monkeypatch.setattr(os, 'scandir', scandir)
    elif kind == 'link':
        (tmp_path / 'disk').rename(tmp_path / 'away')
    else:
        (disk / 'two.mp4').unlink()
        mounted.clear()
    for _ in range(2):
        report = lib.update()
        assert report[:3] == (0, 1, 0)
        ((path, error),) = report.broken
        assert path == str(disk)
        assert error.endswith(f'is kept (1; if it is gone for good: demul index --forget {disk})')
        assert kept(lib) == 2
        assert names(library(tmp_path)) == {'one.mp4', 'two.mp4'}
    monkeypatch.setattr(os, 'scandir', listed)
    if kind == 'link':
        (tmp_path / 'away').rename(tmp_path / 'disk')
    elif kind != 'unreadable':
        mounted += [str(disk)]
        (disk / 'two.mp4').write_bytes(two)
    assert lib.update()[2:] == (0, [])
    assert kept(lib) == 2


def test_an_empty_folder_that_cannot_be_read_is_told(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: str, listed: Any = os.scandir) -> Any:
        if os.path.basename(str(path)) in ('new', 'lost+found'):
            raise OSError(errno.EIO, 'Input/output error', str(path))
        return listed(path)

    for name in ('new', 'lost+found'):  # every disk has one of these
        (folder / name).mkdir()
    monkeypatch.setattr(os, 'scandir', scandir)
    report = library(tmp_path).update(folder)
    assert report.broken == [(str(folder / 'new'), 'it cannot be read (Input/output error)')]


def test_a_file_in_a_folder_that_cannot_be_entered_is_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: str) -> str:
        if Path(path).name == 'two.mp4':
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return state_key(path)

    lib = library(tmp_path)
    lib.update(folder)
    monkeypatch.setattr('demul_mm.app.sources.state_key', look)
    monkeypatch.setattr(os.path, 'lexists', lambda path: False)  # so it says where it may not look
    why = 'it cannot be looked at (Permission denied)'
    assert lib.update() == (0, 1, 0, [(str(folder / 'below/two.mp4'), why)])


def test_a_file_that_was_given_and_is_deleted_is_forgotten(tmp_path: Path, folder: Path) -> None:
    lib, two = library(tmp_path), folder / 'below/two.mp4'
    lib.update([folder / 'one.mp4', two])
    os.remove(folder / 'one.mp4')
    assert lib.update() == (0, 1, 1, [])
    assert names(lib) == {'two.mp4'}
    folder.rename(tmp_path / 'moved')  # its folder is not there, either: a disk may be away
    with pytest.raises(FileNotFoundError, match='nothing was changed'):
        lib.update()
    (tmp_path / 'moved').rename(folder)
    os.remove(two)
    assert lib.update() == (0, 0, 1, [])
    assert kept(lib) == 0


def test_what_is_forgotten_is_looked_for_no_more(tmp_path: Path, folder: Path) -> None:
    lib = library(tmp_path)
    lib.update([folder, folder / 'below'])
    with pytest.raises(ValueError, match=f'no source .*nowhere.*given: {folder}'):
        lib.forget(tmp_path / 'nowhere')
    assert lib.forget(folder / 'below') == (0, 2, 0, [])  # it lies in the other one
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        lib.update()
    assert lib.forget([folder]) == (0, 0, 2, [])
    assert (names(lib), kept(lib), lib.search('red')) == (set(), 0, [])
    with pytest.raises(ValueError, match='no folder was given'):
        lib.update()


def test_a_library_takes_over_what_another_process_has_fixed(tmp_path: Path, folder: Path) -> None:
    before, other = library(tmp_path), Library(tmp_path / 'library', ColourEncoder, seconds=2.0)
    stays = Library(tmp_path / 'library', ColourEncoder, seconds=0.5)
    fast = Library(tmp_path / 'library', ColourEncoder, seconds=0.5)
    fast.update([folder / 'one.mp4'])
    with pytest.raises(ValueError, match=r'has frames every 0\.5 s, not every 2 s'):
        other.update([folder])
    for lib in (stays, before):
        lib.update([folder])
        assert lib.seconds == 0.5
    assert [len(before.frames(row.key)[0]) for row in before.catalogue.videos()] == [18, 18]


def test_broken_files_stop_nothing(tmp_path: Path, folder: Path) -> None:
    whole = (folder / 'one.mp4').read_bytes()
    (folder / 'broken.mp4').write_bytes(whole[:300])
    lib = library(tmp_path)
    report = lib.update([folder])
    assert report.added == 2
    ((path, error),) = report.broken
    assert path.endswith('broken.mp4')
    assert 'broken.mp4' in error
    assert lib.update().broken == report.broken  # told again, not tried again
    (folder / 'broken.mp4').write_bytes(whole)
    assert lib.update() == (1, 2, 0, [])


def test_text_that_cannot_be_read_takes_no_video_away(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of; the pictures and the other files stay, and an empty file has no lines."""
    said: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    lib = library(tmp_path)
    lib.update([folder])
    (folder / 'below/two.srt').touch()
    (folder / 'one.ass').write_bytes(b'\x00\x01 no subtitles')
    write_subtitles(folder / 'one.en.srt', [(1, 2, 'the chain rule')])
    assert lib.update() == (2, 0, 0, [])
    assert {Path(hit.path).name for hit in lib.search('red', kinds=['picture'])} == names(lib)
    assert [Path(hit.path).name for hit in lib.search('chain', kinds=['text'])] == ['one.mp4']
    (warning,) = said
    assert f'{folder / "one.ass"}: no subtitles can be read from it' in warning
    assert 'convert' not in warning


def test_text_that_cannot_be_read_for_now_is_read_later(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails says nothing of the file: each update tries again, and changes no more."""
    file = write_subtitles(folder / 'one.srt', [(1, 2, 'the chain rule')])
    other = write_subtitles(folder / 'one.en.srt', [(1, 2, 'the product rule')])
    lib, read = library(tmp_path), Path.read_bytes

    def fail(path: Path) -> bytes:
        if path in failing:
            raise OSError(errno.EIO, 'Input/output error')
        return read(path)

    def said(sentence: str) -> list[str]:
        return [Path(hit.path).name for hit in lib.search(sentence, kinds=['text'])]

    failing = [file, other]
    with monkeypatch.context() as patch:
        patch.setattr(Path, 'read_bytes', fail)
        both = [(str(path), 'Input/output error') for path in (other, file)]
        assert lib.update([folder]) == (2, 0, 0, both)
        assert (said('chain'), said('product')) == ([], [])
        failing.remove(other)
        unread = both[1:]
        assert lib.update() == (1, 1, 0, unread)
        assert (said('chain'), said('product')) == ([], ['one.mp4'])
        before = lib.catalogue.videos(), lib.catalogue.setting('index_state')
        for _ in range(2):
            assert lib.update() == (0, 2, 0, unread)
        assert (lib.catalogue.videos(), lib.catalogue.setting('index_state')) == before
    assert lib.update() == (1, 1, 0, [])
    assert said('chain') == ['one.mp4']
    assert lib.update() == (0, 2, 0, [])


def test_text_that_comes_later_has_no_picture_encoded(tmp_path: Path, folder: Path) -> None:
    encoder = ColourEncoder()
    lib = library(tmp_path, encoder)
    lib.update([folder])
    seen = encoder.pictures

    def said(sentence: str) -> list[str]:
        return [Path(hit.path).name for hit in lib.search(sentence, kinds=['text'])]

    before = {row.path: row.key for row in lib.catalogue.videos('indexed')}
    file = write_subtitles(folder / 'one.srt', [(1, 2, 'the chain rule')])
    assert lib.update() == (1, 1, 0, [])
    assert lib.update() == (0, 2, 0, [])
    assert said('chain') == ['one.mp4']
    write_subtitles(file, [(1, 2, 'the product rule')])
    assert lib.update() == (1, 1, 0, [])
    assert (said('chain'), said('product')) == ([], ['one.mp4'])
    file.unlink()
    assert lib.update() == (1, 1, 0, [])
    assert said('product') == []
    assert encoder.pictures == seen
    assert {row.path: row.key for row in lib.catalogue.videos('indexed')} == before
    assert len(lib.search('red', 100)) == len(library(tmp_path).search('red', 100))


def test_an_encoder_belongs_to_a_library(tmp_path: Path, folder: Path) -> None:
    library(tmp_path).update([folder])
    other = library(tmp_path, ColourEncoder(weights='w2'))
    with pytest.raises(ValueError, match='was made with the encoder colours'):
        other.search('red')
    with pytest.raises(FileNotFoundError, match='demul index FOLDER'):
        Library.open(tmp_path / 'none', ColourEncoder)
    with pytest.raises(ValueError, match='is empty'):
        library(tmp_path).search(' ')
    with pytest.raises(ValueError, match='choose from'):
        library(tmp_path).search('red', kinds=['sound'])
    with pytest.raises(ValueError, match='no folder was given'):
        Library(tmp_path / 'new', ColourEncoder).update()


def test_pictures_and_words_speak_for_one_moment(tmp_path: Path, folder: Path) -> None:
    write_subtitles(folder / 'one.srt', [(3.5, 5, 'It is all <i>red</i>'), (7, 8, 'Goodbye')])
    lib = library(tmp_path)
    lib.update([folder])
    best = lib.search('red')[0]
    assert Path(best.path).name == 'one.mp4'
    assert [why.split()[0] for why in best.why] == ['picture', 'one.srt:']
    assert best.why[1] == 'one.srt: "It is all red"'
    assert best.score == pytest.approx(2 / 61)
    assert list(best.terms) == ['picture', 'text']
    assert best.why[0] == f'picture {best.terms["picture"]:.3f}'
    assert best.probability is None  # nothing was calibrated
    (said,) = lib.search('goodbye, red', kinds=['text'])[1:]
    assert (said.start, said.end) == (3.5, 5)
    write_subtitles(folder / 'one.srt', [(1, 2, 'other words')])
    assert lib.update().added == 1  # what is said belongs to the video
    assert lib.search('goodbye', kinds=['text']) == []


def test_the_recall_of_the_index(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = library(tmp_path)
    assert lib.recall() is None
    lib.update([folder])
    assert lib.recall() == 1.0  # of so few videos all moments are scored
    search = MomentIndex.search

    def forget(self: MomentIndex, vectors: np.ndarray, number: int, *args: int, mode: str) -> Any:
        return search(self, vectors, number // 2 if mode == 'fast' else number, *args, mode=mode)

    monkeypatch.setattr(MomentIndex, 'search', forget)
    assert lib.recall() == 0.5


def test_there_is_no_recall_of_nothing(tmp_path: Path, folder: Path) -> None:
    lib = library(tmp_path)
    lib.update([folder])
    for name in ('one.mp4', 'below/two.mp4'):
        os.remove(folder / name)
    lib.forget(folder)
    assert lib.recall() is None


def test_what_is_said_of_moments_moves_the_next_search(tmp_path: Path, folder: Path) -> None:
    lib = library(tmp_path)
    lib.update([folder])

    def places(hits: list[Hit]) -> list[tuple[str, float, float]]:
        return [hit[:1] + hit[2:4] for hit in hits]

    before = places(lib.search('red', 100, ['picture']))
    for rank, span in enumerate(before):
        assert places(lib.search('red', 100, ['picture'], liked=[span])).index(span) <= rank
        after = lib.search('red', 100, ['picture'], disliked=[span])
        assert span not in places(after)
    assert places(lib.search('red', 100, ['picture'], liked=[('gone', 0, 1)])) == before


def test_a_library_follows_what_others_do_to_it(tmp_path: Path, folder: Path) -> None:
    mine, theirs = library(tmp_path), library(tmp_path)
    mine.update([folder / 'one.mp4'])
    assert {Path(hit.path).name for hit in mine.search('red', 100)} == {'one.mp4'}
    theirs.update([folder])
    with ThreadPoolExecutor(4) as pool:  # and in any thread
        answers = list(pool.map(lambda _: mine.search('red', 100), range(8)))
    assert {Path(hit.path).name for hit in answers[0]} == {'one.mp4', 'two.mp4'}
    assert all(answer == answers[0] for answer in answers)
    os.remove(folder / 'one.mp4')
    theirs.update([folder])
    assert {Path(hit.path).name for hit in mine.search('red', 100)} == {'two.mp4'}


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ('a.mp4', '.b.mp4', '.cache/c.mp4', 'd.txt', 'E.MKV'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(path).name for path in find_videos([tmp_path, tmp_path / 'd.txt'])]
    assert found == ['E.MKV', 'a.mp4', 'd.txt']
    assert state_key(tmp_path / 'a.mp4') != state_key(tmp_path / 'E.MKV')


@pytest.mark.parametrize('harm', ['deleted', 'damaged', 'of another program'])
def test_an_index_is_made_anew_from_the_frames(tmp_path: Path, folder: Path, harm: str) -> None:
    lib = library(tmp_path)
    lib.update([folder])
    expected = lib.search('something red')
    index = lib.path / 'index'
    if harm == 'damaged':
        (data,) = (index / 'videos.lance' / 'data').iterdir()
        data.write_bytes(data.read_bytes()[:-3])
    else:
        shutil.rmtree(index)
    if harm == 'of another program':
        lance.write_dataset(pa.table({'id': ['a']}), index / 'videos.lance')
    encoder = ColourEncoder()
    again = library(tmp_path, encoder)
    assert again.update()[:3] == (0, 2, 0)
    assert encoder.pictures == 0
    assert again.search('something red') == expected


def test_a_video_may_go_after_a_kill(tmp_path: Path, folder: Path) -> None:
    """What a killed build had written and what is there now need not be the same videos."""
    lib = library(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MomentIndex, '_commit', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lib.update([folder])
    os.remove(folder / 'one.mp4')
    assert library(tmp_path).update()[:3] == (0, 1, 1)
    assert names(library(tmp_path)) == {'two.mp4'}


def update(path: Path, folder: Path) -> None:
    Library(path, ColourEncoder).update([folder])


def test_killed_at_any_moment_it_loses_nothing(tmp_path: Path) -> None:
    draw = random.Random(0)
    for i in range(12):
        write_film(tmp_path / f'films/{i:02d}.mp4', ['red', 'blue'] if i % 2 else ['green'], 2)
    for _ in range(2):  # the first starts the server
        shutil.rmtree(tmp_path / 'whole', ignore_errors=True)
        process = SERVER.Process(target=update, args=(tmp_path / 'whole', tmp_path / 'films'))
        start = time.perf_counter()
        process.start()
        process.join()
        took = time.perf_counter() - start
        assert process.exitcode == 0
    killed = 0
    for attempt in range(20):
        process = SERVER.Process(target=update, args=(tmp_path / 'library', tmp_path / 'films'))
        process.start()
        process.join(draw.uniform(0, took) / 3)
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        # There is always something to add and to forget.
        films = sorted((tmp_path / 'films').iterdir())
        for number, film in enumerate(draw.sample(films, 4)):
            os.remove(film)
            write_film(tmp_path / f'films/{attempt}_{number}.mp4', ['red', 'blue'], 2)
    assert killed >= 5
    whole, fresh = library(tmp_path), Library(tmp_path / 'fresh', ColourEncoder)
    whole.update([tmp_path / 'films'])
    fresh.update([tmp_path / 'films'])
    assert names(whole) == names(fresh)
    assert len(names(whole)) == 12
    for sentence in ('red', 'blue', 'green'):
        a, b = (sorted(lib.search(sentence, 100)) for lib in (whole, fresh))
        assert [h[:4] for h in a] == [h[:4] for h in b]
    kept = {path.stem for path in (whole.path / 'frames').rglob('*.npz')}
    assert kept == {row.key for row in whole.catalogue.videos('indexed')}
    entry = whole.entry(next(iter(kept)))
    assert np.allclose(np.linalg.norm(entry.moments, axis=1), 1, atol=1e-3)
