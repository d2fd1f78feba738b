"""Moments without training: what is planted is found, in the own video and in a corpus."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.models.localizers.own_video import OwnVideoBatch
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentDataSample
from projects.clip_zero_shot.loop import IndexTestLoop, entry_of
from projects.clip_zero_shot.model import Meaning, ZeroShot
from tests.app.encoders import KINDS, save_encoder

CONFIGS = sorted(Path(__file__).parents[1].glob('configs/*.py'))
DIM = 8


def model_of(scorer: str, **options: dict) -> ZeroShot:
    return MODELS.build(
        dict(
            type='ZeroShot',
            language=dict(type='SentenceVectors', lm=dict(type='StoredTokens', dim=DIM)),
            streams=dict(visual=dict(in_dim=DIM)),
            scorer=scorer,
            **options,
        )
    )


def planted(lengths: tuple[int, ...] = (12, 20), spans: tuple = ((3, 7), (10, 16))) -> tuple:
    """Videos of noise whose moment looks like axis 0, and the same with padding."""
    rng = torch.Generator().manual_seed(0)
    clips = torch.zeros(len(lengths), max(lengths), DIM)
    for v, (length, (start, end)) in enumerate(zip(lengths, spans)):
        clips[v, :length, 1:] = 1 + 0.1 * torch.randn(length, DIM - 1, generator=rng)
        clips[v, start:end] = 0.1 * torch.randn(end - start, DIM, generator=rng)
        clips[v, start:end, 0] += 3
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return clips, mask


def batch_of(clips: Tensor, mask: Tensor) -> OwnVideoBatch:
    query = torch.eye(DIM)[:1].expand(len(clips), -1)
    return OwnVideoBatch(
        clips, mask, Meaning(query), torch.arange(len(clips)), torch.full((len(clips),), 10.0)
    )


@pytest.mark.parametrize('scorer', ['scan', 'contrast', 'diwan', 'tag'])
def test_a_planted_moment_is_first(scorer: str) -> None:
    model, batch = model_of(scorer), batch_of(*planted())
    spans, scores, mask = model.predict_by_feat(model.run(batch), batch)
    expected = torch.tensor([[3 / 12, 7 / 12], [10 / 20, 16 / 20]])
    atol = 1 / 12 if scorer == 'tag' else 1e-6  # its clusters look at a window of time
    torch.testing.assert_close(spans[:, 0], expected, atol=atol, rtol=0)
    assert (scores.diff(dim=1)[mask[:, 1:]] <= 0).all()


def test_padding_and_company_change_nothing() -> None:
    clips, mask = planted()
    model = model_of('contrast')
    both = batch_of(clips, mask)
    alone = batch_of(clips[:1, :12], mask[:1, :12])
    found = [model.select(*model.predict_by_feat(model.run(b), b), b)[0] for b in (both, alone)]
    assert isinstance(found[0], InstanceData)
    torch.testing.assert_close(found[0].spans, found[1].spans)
    torch.testing.assert_close(found[0].scores, found[1].scores)


def test_the_mean_of_all_clips_changes_no_contrast() -> None:
    """What all vectors of a modality share moves the whole curve, and a contrast not at all."""
    clips, mask = planted((12,), ((3, 7),))
    batch, model = batch_of(clips, mask), model_of('contrast')
    curve = model.run(batch)
    moved = curve._replace(likeness=curve.likeness + 0.4)
    plain, other = (model.predict_by_feat(c, batch) for c in (curve, moved))
    torch.testing.assert_close(plain[1], other[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(plain[0][:, :20], other[0][:, :20])


def test_there_is_nothing_to_train() -> None:
    model, batch = model_of('contrast'), batch_of(*planted())
    assert not list(model.parameters())
    with pytest.raises(ValueError, match='nothing to train'):
        model.loss_by_feat(model.run(batch), batch, torch.zeros(2, 1, 2), torch.ones(2, 1) > 0)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ValueError, match='no scorer'):
        model_of('guess')
    batch = batch_of(*planted())
    other = batch._replace(text=Meaning(torch.eye(3)[:2]))
    with pytest.raises(ValueError, match='one image-text model'):
        model_of('contrast').run(other)


@pytest.mark.parametrize('kind', KINDS)
def test_the_text_side_of_any_image_text_model(kind: str, tmp_path: Path) -> None:
    """Frames through one side and sentences through the other meet in one space."""
    folder = save_encoder(tmp_path, kind)
    sentences = TASK_UTILS.build(dict(type='ImageTextSentences', name=str(folder), offline=True))
    vectors, mask = sentences(['a red square leaves', 'the dog'])
    assert vectors.shape == (2, 1, sentences.encoder.dim)
    assert mask.all()
    np.testing.assert_allclose(
        vectors[:, 0], sentences.encoder.encode_texts(['a red square leaves', 'the dog'])
    )
    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    assert sentences.encoder.encode_images(pictures).shape[1] == vectors.shape[2]


def test_windows_go_into_the_index() -> None:
    sample = MomentDataSample()
    sample.set_metainfo(dict(video_id='v', duration=9.0, extent=10.0))
    clips, _ = planted((12,), ((3, 7),))
    unit = torch.nn.functional.normalize(clips[0], dim=-1)
    entry = entry_of(sample, unit.numpy())
    assert entry is not None
    entry.check(DIM)
    best = entry.spans[entry.moments[:, 0].argmax()]
    assert 3 * 10 / 12 - 1e-4 <= best[0] < best[1] <= 7 * 10 / 12 + 1e-4
    assert entry.spans.max() <= 9.0
    assert entry_of(sample, np.zeros((4, DIM), np.float32)) is None  # nothing is told in it


def test_a_video_without_content_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The query is axis 0, and moments look much but not exactly like it."""
    clips, mask = planted()
    batch = batch_of(torch.cat([torch.zeros_like(clips[:1]), clips]), mask[[0, 0, 1]])

    def batches(model: ZeroShot, samples: list[MomentDataSample]) -> Iterator[OwnVideoBatch]:
        for number, name in enumerate(('empty', 'first', 'second')):
            samples.append(MomentDataSample())
            samples[-1].set_metainfo(dict(sample_idx=number, video_id=name, duration=10.0))
        yield batch

    loop = object.__new__(IndexTestLoop)
    loop.index_config = dict(type='ExactIndex')
    loop.num_videos, loop.num_moments, loop.num_sharpened = 3, 5, 2
    monkeypatch.setattr(loop, '_batches', batches)
    samples, moments, videos = loop._answer(model_of('windows'))
    assert len(samples) == 3
    assert all(sorted(found) == ['first', 'second'] for found in videos)
    assert all(row[0] != 'empty' for rows in moments for row in rows)
    for rows in moments:  # the moments have their own borders, not those of windows
        best = {name: (start, end) for name, start, end, _ in reversed(rows)}
        assert best['first'] == pytest.approx((10 * 3 / 12, 10 * 7 / 12))
        assert best['second'] == pytest.approx((10 * 10 / 20, 10 * 16 / 20))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_build(path: Path, tmp_path: Path) -> None:
    config = Config.fromfile(path)
    assert config.test_dataloader.dataset.folds is None
    tokenizer = config.model.data_preprocessor.get('tokenizer')
    if tokenizer and tokenizer.type == 'ImageTextSentences':  # no weights at hand: random ones
        tokenizer.name = str(save_encoder(tmp_path))
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model.to_dict())
    assert isinstance(model, ZeroShot)
