"""Clips come from the right moments of a file, whatever the file is like."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from demul_mm.datasets.transforms import LoadVideoClips
from demul_mm.video.clips import clip_times, decode_clips, iter_clips

av = pytest.importorskip('av')

FPS = 10
SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'videos'


def write_video(path: Path, seconds: float, options: dict | None = None, fps: int = FPS) -> Path:
    """A film whose grey value is 2 * (index of the frame)."""
    with av.open(str(path), 'w', options=options or {}) as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '5', 'bf': '2'})
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for index in range(round(seconds * fps)):
            picture = np.full((48, 64, 3), 2 * index + 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def shown(clips: np.ndarray) -> np.ndarray:
    """Indices (T, t) of the frames in clips (T, 3, t, H, W)."""
    return (clips.mean((1, 3, 4)) - 10) / 2


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp('films') / 'film.mp4', 10)


def test_clip_times() -> None:
    times = clip_times(10.0, 5, 2, None)
    assert np.allclose(times[:2], [[0.5, 1.5], [2.5, 3.5]])
    wide = clip_times(10.0, 5, 2, 8.0)
    assert np.allclose(wide[:2], [[0, 3], [1, 5]])
    assert wide.min() >= 0
    assert wide.max() <= 10


@pytest.mark.parametrize('frames', [1, 4])
@pytest.mark.parametrize('window', [None, 3.0])
def test_frames_are_those_shown_then(film: Path, frames: int, window: float | None) -> None:
    clips, duration = decode_clips(
        str(film), num_clips=7, frames_per_clip=frames, window_seconds=window, size=(24, 32)
    )
    assert clips.shape == (7, 3, frames, 24, 32)
    assert clips.dtype == np.uint8
    assert duration == pytest.approx(10, abs=0.01)
    expected = np.floor(clip_times(duration, 7, frames, window) * FPS)
    assert np.abs(shown(clips) - np.clip(expected, 0, 99)).max() <= 1.3


def test_clip_seconds(film: Path) -> None:
    clips, _ = decode_clips(str(film), clip_seconds=0.49, frames_per_clip=1, size=16)
    assert len(clips) == 20
    assert (np.diff(shown(clips)[:, 0]) > 3).all()


def test_more_clips_than_frames(film: Path) -> None:
    clips, _ = decode_clips(str(film), num_clips=300, frames_per_clip=1, size=16)
    order = shown(clips)[:, 0]
    assert len(order) == 300
    assert (np.diff(order) > -0.6).all()


def test_batches_are_the_whole(film: Path) -> None:
    options = dict(num_clips=11, frames_per_clip=3, window_seconds=2.5, size=16)
    whole, _ = decode_clips(str(film), **options)
    parts = [p for p, _ in iter_clips(str(film), batch=4, **options)]
    assert [len(p) for p in parts] == [4, 4, 3]
    assert np.array_equal(np.concatenate(parts), whole)


def test_transform(film: Path) -> None:
    load = LoadVideoClips(num_clips=3, frames_per_clip=2, size=16)
    results = load(dict(video_id='a', video_path=str(film), duration=9.9))
    assert results['streams']['frames'].shape == (3, 3, 2, 16, 16)
    assert results['extent'] == pytest.approx(10, abs=0.01)
    with pytest.raises(ValueError, match="'b' has no video_path"):
        load(dict(video_id='b', video_path=None))


def test_the_file_must_be_as_long_as_the_annotation_says(film: Path) -> None:
    load = LoadVideoClips(num_clips=10, frames_per_clip=1, size=16)
    with pytest.raises(ValueError, match='10 s of decoded video, 126 s of video; correct'):
        load(dict(video_id='a', video_path=str(film), duration=126.0))


@pytest.mark.parametrize('options', [{}, dict(num_clips=2, clip_seconds=1.0)])
def test_one_measure_of_clips(film: Path, options: dict) -> None:
    with pytest.raises(ValueError, match='exactly one'):
        decode_clips(str(film), **options)
    with pytest.raises(ValueError, match='exactly one'):
        LoadVideoClips(**options)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='no such video'):
        decode_clips(str(tmp_path / 'none.mp4'), num_clips=2)
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(ValueError, match=r'text.mp4: cannot be opened as a video'):
        decode_clips(str(tmp_path / 'text.mp4'), num_clips=2)


def test_truncated_file(tmp_path: Path) -> None:
    """With its index in front, the first half of a file still opens."""
    film = write_video(tmp_path / 'film.mp4', 20, {'movflags': 'faststart'})
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ValueError, match=r'film.mp4: readable up to .* of 20.0 s.*again') as error:
        decode_clips(str(film), num_clips=8, size=16)
    readable = float(str(error.value).split('up to ')[1].split()[0])
    assert 1 < readable < 19
    film.write_bytes(whole[:400])
    with pytest.raises(ValueError, match=r'film\.mp4'):
        decode_clips(str(film), num_clips=8, size=16)


def test_real_videos() -> None:
    if not SHARED.is_dir():
        pytest.skip(f'no folder {SHARED}')
    for path in sorted(SHARED.glob('*.mp4')):
        clips, duration = decode_clips(str(path), num_clips=4, frames_per_clip=2, size=32)
        with av.open(str(path)) as container:
            assert duration == pytest.approx(container.duration / 1e6, abs=0.5)
        assert clips.shape == (4, 3, 2, 32, 32)
        assert clips.std() > 10
        assert len({c.tobytes() for c in clips}) == 4


def test_pictures_as_large_as_the_file(film: Path) -> None:
    whole, _ = decode_clips(str(film), num_clips=5, frames_per_clip=1, size=None)
    same, _ = decode_clips(str(film), num_clips=5, frames_per_clip=1, size=(48, 64))
    assert np.array_equal(whole, same)


@pytest.mark.parametrize('form', ['img_{:05d}.jpg', '{}.png'])
def test_a_folder_of_frames_is_a_video(tmp_path: Path, form: str) -> None:
    """Numbers count, not the order of the names; the rate says how long it is."""
    for index in range(20):
        picture = np.full((48, 64, 3), 2 * index + 10, np.uint8)
        picture[..., 0] = 0  # blue, as cv2 writes
        cv2.imwrite(str(tmp_path / form.format(index + 1)), picture)
    (tmp_path / 'notes.txt').touch()
    whole, _ = decode_clips(str(tmp_path), num_clips=1, size=None, frame_rate=10)
    assert whole.shape[-2:] == (48, 64)
    ask = dict(num_clips=5, frames_per_clip=2, size=(24, 32), frame_rate=10)
    clips, duration = decode_clips(str(tmp_path), **ask)
    assert duration == 2.0
    assert clips.shape == (5, 3, 2, 24, 32)
    indices = (clips[:, :2].mean((1, 3, 4)) - 10) / 2
    assert np.allclose(indices, np.arange(20).reshape(5, 4)[:, 1::2], atol=0.6)
    assert clips[:, 2].mean() < 2  # blue is last
    parts = [p for p, _ in iter_clips(str(tmp_path), batch=2, **ask)]
    assert np.array_equal(np.concatenate(parts), clips)
    load = LoadVideoClips(**ask)
    assert load.lacks(dict(video_id='a', video_path=str(tmp_path))) is None
    with pytest.raises(ValueError, match='give frame_rate'):
        decode_clips(str(tmp_path), num_clips=2)
    (tmp_path / form.format(4)).write_text('no picture')
    with pytest.raises(ValueError, match='no readable picture'):
        decode_clips(str(tmp_path), **ask)
    (tmp_path / 'b').mkdir()
    with pytest.raises(ValueError, match='holds no numbered frames'):
        decode_clips(str(tmp_path / 'b'), num_clips=2, frame_rate=5)
