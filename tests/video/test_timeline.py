"""A video is as long as its last frame says, whatever the order in which frames are decoded."""

from pathlib import Path

import numpy as np
import pytest

from demul_mm.video.decoding import checked_timeline
from tests.video.films import write_at

pytest.importorskip('av')

RECORDING = [*np.arange(60) / 30, 2.0, *(32 + np.arange(60) / 30)]  # nothing moves for 30 s
SLIDES = [0.0, 60.0, 70.0, 75.0, 300.0, 301.0]


@pytest.mark.parametrize('kind', ['mp4', 'mov', 'mkv', 'ts'])
@pytest.mark.parametrize('frames', ['0', '2', '4'])
def test_a_pause_is_not_counted_twice(kind: str, frames: str, tmp_path: Path) -> None:
    for times in (RECORDING, RECORDING[:64]):
        film = write_at(tmp_path / f'film.{kind}', times, bf=frames, **{'b-adapt': '0'})
        assert 0 < checked_timeline(str(film)).duration - times[-1] < 0.1


@pytest.mark.parametrize('kind', ['mp4', 'mov', 'mkv'])
def test_a_film_of_slides_ends_soon_after_the_last(kind: str, tmp_path: Path) -> None:
    film = write_at(tmp_path / f'film.{kind}', SLIDES)
    assert checked_timeline(str(film)).duration == pytest.approx(301.033, abs=0.01)


def test_a_last_frame_without_a_length_stays_as_long_as_others_usually_do(tmp_path: Path) -> None:
    film = write_at(tmp_path / 'film.ts', [0.0, 0.1, 0.2, 0.3, 20.3, 20.4])
    assert checked_timeline(str(film)).duration == pytest.approx(20.5, abs=0.01)
