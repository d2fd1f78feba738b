"""A file is there whole or not at all."""

import os
from pathlib import Path

import pytest

from demul_mm.files import replacing, write_atomically


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
