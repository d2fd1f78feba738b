"""Video files as input: through the model's own frame encoder, and through an extractor."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from demul_mm.apis import FeatureExtractor, MomentInferencer
from demul_mm.apis.extractor import stream_features
from demul_mm.registry import MODELS
from tests.apis.small import SmallCorpus
from tests.models.tiny import FEATURES, SENTENCES, tiny_config

CLIPS = dict(clip_seconds=0.5, frames_per_clip=2, size=16)


@MODELS.register_module(force=True)
class ColourMeans(nn.Module):
    """A backbone ``(B, 3, t, H, W)`` to ``(B, 12)``: four trained mixtures of each mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.linspace(-1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float().mean((2, 3, 4))[..., None] * self.mix).flatten(1) / 64


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds that turn from black to white."""
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=8)
        stream.width = stream.height = 32
        for i in range(32):
            picture = np.full((32, 32, 3), 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope='module')
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('backbone') / 'backbone.pth'
    meta = dict(backbone=dict(type='ColourMeans'), clips=CLIPS)
    torch.save(dict(state_dict=ColourMeans().state_dict(), meta=meta), path)
    return path


def test_extractor_gives_a_row_for_each_clip(film: Path, backbone: Path) -> None:
    features, seconds = FeatureExtractor(backbone, device='cpu')(film)
    assert features.shape == (8, FEATURES)
    assert seconds == pytest.approx(4.0, abs=0.01)
    assert (np.diff(features[:, 3]) > 0).all()  # brighter and brighter
    torch.save(dict(state_dict=dict(other=torch.ones(1))), backbone.with_name('other.pth'))
    with pytest.raises(ValueError, match='does not say'):
        FeatureExtractor(backbone.with_name('other.pth'))
    options = dict(backbone=dict(type='ColourMeans'), clips=CLIPS)
    with pytest.raises(ValueError, match='lacks 1 weights'):
        FeatureExtractor(backbone.with_name('other.pth'), **options)


def test_extractors_are_told_apart(backbone: Path) -> None:
    """By their weights and by how they cut clips; one is the same the next time."""
    first = FeatureExtractor(backbone, device='cpu').fingerprint
    assert FeatureExtractor(backbone, device='cpu').fingerprint == first
    finer = FeatureExtractor(backbone, clips=dict(CLIPS, clip_seconds=0.25), device='cpu')
    assert finer.fingerprint != first
    backbone.write_bytes(backbone.read_bytes())  # at another time
    assert FeatureExtractor(backbone, device='cpu').fingerprint != first


def test_it_does_not_matter_where_the_chunks_of_a_file_end(film: Path, backbone: Path) -> None:
    eye = FeatureExtractor(backbone, device='cpu')
    whole, seconds = eye(film)
    for batch in (1, 3, 7):
        shares: list[float] = []
        rows, length = stream_features(str(film), CLIPS, eye._encode, shares.append, batch)
        np.testing.assert_array_equal(rows, whole)
        assert length == seconds
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)


def test_a_file_is_its_features(
    corpus: SmallCorpus, film: Path, backbone: Path, tmp_path: Path
) -> None:
    extractor = FeatureExtractor(backbone, device='cpu')
    find = MomentInferencer(corpus.config, corpus.checkpoint, 'cpu', extractor)
    features, seconds = extractor(film)
    by_file, by_array = find([film, features], SENTENCES[0], durations=[None, seconds])
    assert by_file['video_id'] == 'film'
    for key in ('duration', 'spans', 'probabilities', 'terms'):
        assert by_file[key] == by_array[key]
    config = Config.fromfile(corpus.config)
    config.extractor = dict(checkpoint=str(backbone), device='cpu')
    (named,) = MomentInferencer(config, corpus.checkpoint, 'cpu')(film, SENTENCES[0])
    assert named == by_file
    plain = MomentInferencer(corpus.config, corpus.checkpoint, 'cpu')
    with pytest.raises(ValueError, match='is a video, and the model takes features'):
        plain(film, SENTENCES[0])
    other = tmp_path / 'features.mat'
    other.write_bytes(b'MATLAB 5.0 MAT-file')
    with pytest.raises(ValueError, match=r'features.mat is no feature file \(.npy, .npz'):
        plain(other, SENTENCES[0])


def test_a_folder_of_frames_is_a_video(
    corpus: SmallCorpus, film: Path, backbone: Path, tmp_path: Path
) -> None:
    with av.open(str(film)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            frame.to_image().save(tmp_path / f'frame_{i:04d}.png')
    clips = dict(CLIPS, frame_rate=8)
    extractor = FeatureExtractor(backbone, clips=clips, device='cpu')
    find = MomentInferencer(corpus.config, corpus.checkpoint, 'cpu', extractor)
    by_frames, by_file = find([tmp_path, film], SENTENCES[0], explain=False)
    assert by_frames['duration'] == pytest.approx(4.0)
    np.testing.assert_allclose(by_frames['spans'], by_file['spans'], atol=0.05)


def test_a_model_that_sees_frames(
    corpus: SmallCorpus, film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.fromfile(corpus.config)
    encoder = dict(type='FrameEncoder', backbone=dict(type='ColourMeans'))
    config.model = tiny_config(frame_encoder=encoder)
    load = dict(type='LoadVideoClips', **CLIPS)
    config.test_dataloader.dataset.pipeline = [load, dict(type='PackMomentInputs')]
    torch.manual_seed(0)
    find = MomentInferencer(config, None, 'cpu')
    cut = tmp_path / 'cut.mp4'
    cut.write_bytes(film.read_bytes()[:300])
    good, broken = find([film, cut], SENTENCES[0], out_dir=tmp_path)
    assert good['duration'] == pytest.approx(4.0, abs=0.01)
    assert len(good['phrases'][0]['clips']) == 8
    assert all(0 <= start < end <= 4.01 for start, end in good['spans'])
    assert 'cut.mp4' in broken['error']
    assert (tmp_path / 'film.png').stat().st_size > 1000
    with pytest.raises(ValueError, match='no video file'):
        find('absent.mp4', SENTENCES[0])


def test_files_of_one_name(corpus: SmallCorpus, film: Path, backbone: Path, tmp_path: Path) -> None:
    """They are told apart by their folders; of one video twice there would be one picture."""
    find = MomentInferencer(
        corpus.config, corpus.checkpoint, 'cpu', FeatureExtractor(backbone, device='cpu')
    )
    films = [tmp_path / kind / '000.mp4' for kind in ('cat', 'dog')]
    for copy in films:
        copy.parent.mkdir()
        copy.write_bytes(film.read_bytes())
    results = find(films, SENTENCES[0], out_dir=tmp_path / 'out', explain=False)
    assert [result['video_id'] for result in results] == ['cat/000', 'dog/000']
    assert len(list((tmp_path / 'out').glob('*/000.png'))) == 2
    twice = [films[0], films[0]]
    assert len(find(twice, SENTENCES[0], explain=False)) == 2
    with pytest.raises(ValueError, match=r"2 videos are called '000'.*leave out_dir out"):
        find(twice, SENTENCES[0], out_dir=tmp_path / 'out')
    films[0].with_suffix('.mkv').write_bytes(film.read_bytes())
    with pytest.raises(ValueError, match="would both be called '000'"):
        find([films[0], films[0].with_suffix('.mkv')], SENTENCES[0])
