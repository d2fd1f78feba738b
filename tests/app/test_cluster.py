"""What workers keep of a video is what the library's own process would."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from demul_mm.app.cluster import encode_on
from demul_mm.app.library import Library
from tests.app.films import ColourEncoder, write_film


class Here:
    """Stands for a cluster, in this process."""

    def run(self, prepare: Callable[[], Callable[[str], Any]], videos: Iterable[str]) -> Iterator:
        work = prepare()
        for path in videos:
            yield path, work(path), None


def test_moments_keep_to_shots(tmp_path: Path) -> None:
    pytest.importorskip('scenedetect')
    films = tmp_path / 'films'
    write_film(films / 'one.mp4', ['red', 'black', 'blue'], seconds=3)
    own = Library(tmp_path / 'own', ColourEncoder, shots=True)
    own.update([films])
    lib = Library(tmp_path / 'library', ColourEncoder, shots=True)
    cluster: Any = Here()
    lib.update([films], cluster=partial(encode_on, cluster, ColourEncoder))
    (row,), (same,) = lib.catalogue.videos(), own.catalogue.videos()
    spans = lib.entry(row.key).spans.tolist()
    assert spans == own.entry(same.key).spans.tolist()
    assert {tuple(span) for span in spans} >= set(pairwise([0.0, 3.0, 6.0, 9.0]))
