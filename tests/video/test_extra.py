"""Without the extra for videos, what reads them says how to get it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demul_mm.app.export import as_cut
from demul_mm.rendered import render_corpus
from demul_mm.rendered.render import write_mp4
from demul_mm.video.cutting import cut
from demul_mm.video.decoding import checked_timeline, open_video
from demul_mm.video.frames import read_key_frames
from demul_mm.video.text import read_lines


@pytest.mark.parametrize(
    'read',
    [
        open_video,
        checked_timeline,
        read_lines,
        lambda path: read_key_frames(path, [0.0]),
        lambda path: cut(path, f'{path}.cut.mp4', 0, 1),
        lambda path: write_mp4(Path(path), iter(())),
        lambda path: as_cut(dict(video=path, start=0, end=1), 'one'),
        lambda path: render_corpus(Path(path).parent / 'corpus', train=1, val=0, videos=False),
    ],
)
def test_the_extra_is_named(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'av', None)
    (tmp_path / 'a.mp4').touch()
    with pytest.raises(ImportError, match=r"videos needs av: pip install 'demul-mm\[video\]'"):
        read(str(tmp_path / 'a.mp4'))
