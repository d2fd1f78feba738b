"""A file is there whole or not at all."""

import os
from pathlib import Path

import pytest

from demul_mm.files import (
    ids_of,
    inside,
    list_by_id,
    open_text,
    read_text,
    replacing,
    total_size,
    unique_ids,
    write_atomically,
)


def test_text_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'a.json'
    write_atomically(path, 'é')
    assert path.read_bytes() == 'é'.encode()
    write_atomically(str(path), b'\xff')
    assert path.read_bytes() == b'\xff'
    assert os.listdir(path.parent) == ['a.json']


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt])
def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path, error: type) -> None:
    path = tmp_path / 'a.npy'
    path.write_text('old')

    def fail() -> None:
        with replacing(path) as temporary:
            assert temporary.suffix == '.npy'
            temporary.write_text('ne')
            assert path.read_text() == 'old'
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.npy']


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    with replacing(path) as left:
        left.write_text('whole')
    left.write_text('half of what was to be writ')  # as if killed here
    write_atomically(path, 'new')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['a.txt']


def test_processes_that_share_a_file_write_under_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'a.bin'
    with replacing(path, shared=True) as one:
        monkeypatch.setattr(os, 'getpid', lambda: -1)
        with replacing(path, shared=True) as other:
            assert one != other
            one.write_bytes(b'one')
            other.write_bytes(b'other')
        assert path.read_bytes() == b'other'
    assert path.read_bytes() == b'one'


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_ids_are_paths_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, 'dog/000.MP4', 'cat/000.mp4', 'v.1.mkv', 'a.txt', '.b.mp4', '.git/c.mp4')
    touch(tmp_path, 'd.tmp.mp4')
    (tmp_path / 'dog' / 'again').symlink_to(tmp_path)  # a circle
    assert list_by_id(tmp_path, ('.mp4', '.mkv')) == {
        'cat/000': 'cat/000.mp4',
        'dog/000': 'dog/000.MP4',
        'v.1': 'v.1.mkv',
    }
    touch(tmp_path, 'cat/000.mkv')
    with pytest.raises(ValueError, match=r"cat/000.mkv and cat/000.mp4 would both .*'cat/000'"):
        list_by_id(tmp_path, ('.mp4', '.mkv'))


def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    """It could be no id: neither JSON nor a database takes it."""
    name = os.fsdecode(b'caf\xe9.mp4')
    (tmp_path / name).touch()
    for ask in (lambda: list_by_id(tmp_path, ['.mp4']), lambda: ids_of([name])):
        with pytest.raises(
            ValueError, match=r"'caf\\udce9.mp4' is no valid UTF-8; rename the file"
        ):
            ask()


def test_one_file_may_come_twice_but_not_two_under_one_id(tmp_path: Path) -> None:
    touch(tmp_path, 'a.mp4')
    one, same = str(tmp_path / 'a.mp4'), f'{tmp_path}/./a.mp4'
    assert unique_ids([('a', one), ('b', one), ('a', same)]) == {'a': one, 'b': one}
    with pytest.raises(ValueError, match="would both be called 'a'"):
        unique_ids([('a', one), ('a', 'other.mp4')])


def test_files_are_called_by_their_names_if_those_tell_them_apart() -> None:
    assert ids_of(['x/a.mp4', '/y/b.mp4']) == {'x/a.mp4': 'a', '/y/b.mp4': 'b'}
    assert list(ids_of(['x/cat/0.mp4', 'x/dog/0.mp4']).values()) == ['cat/0', 'dog/0']
    assert list(ids_of(['x/0.mp4', 'x/dog/0.mp4']).values()) == ['0', 'dog/0']
    assert ids_of([]) == {}
    with pytest.raises(ValueError, match="both be called 'a'"):
        ids_of(['x/a.mp4', 'x/a.mkv'])


def test_no_id_leads_out_of_a_folder(tmp_path: Path) -> None:
    assert inside(tmp_path, 'cat/000', '.npy') == tmp_path / 'cat' / '000.npy'
    assert inside(tmp_path, 'v.1', '.npy') == tmp_path / 'v.1.npy'
    for bad in ('../a', '/etc/a', 'a/../../b', 'a\0b'):
        with pytest.raises(ValueError, match='would not be in'):
            inside(tmp_path, bad, '.npy')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_the_mark_of_a_file_tells_its_encoding(tmp_path: Path, encoding: str) -> None:
    text = 'a dog\u2028runs 狗跑\nsecond\n'
    mark = '' if encoding in ('utf-8', 'utf-8-sig', 'utf-16') else '\ufeff'
    (tmp_path / 'a.txt').write_bytes((mark + text).encode(encoding))
    assert read_text(tmp_path / 'a.txt') == text
    with open_text(tmp_path / 'a.txt') as lines:
        assert list(lines) == ['a dog\u2028runs 狗跑\n', 'second\n']


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for content in ('über'.encode('latin-1'), b'\xff\xfea'):
        (tmp_path / 'a.txt').write_bytes(content)
        with pytest.raises(ValueError, match=r'a.txt: .*save it as UTF-8'):
            read_text(tmp_path / 'a.txt')


def test_a_file_that_is_deleted_meanwhile_has_no_size(tmp_path: Path) -> None:
    (tmp_path / 'a').write_bytes(b'123')
    assert total_size([tmp_path / 'a', tmp_path / 'gone', tmp_path / 'a']) == 6
    assert total_size([]) == 0
