"""A space that a stream and the sentences share before any training."""

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.localizers import DeMUL
from demul_mm.models.necks import AlignedStream, TemporalPyramid
from demul_mm.registry import MODELS
from tests.models.tiny import (
    SENTENCES,
    SHARED,
    TOKENS,
    losses_of,
    only,
    predictions_of,
    tiny_config,
    tiny_data,
    tiny_model,
)

E = 6
ALIGNED_TEXT = [dict(type='AlignedStream', stream='text', in_dim=TOKENS, share=0.5)]


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def test_the_cosine_is_a_mixture_of_both_spaces() -> None:
    torch.manual_seed(0)
    aligned = AlignedStream('text', E, share=0.3).eval()
    learned, given = (unit(4, 3), unit(5, 3)), (unit(4, E), unit(5, E))
    video = aligned.join(learned[0], 2.5 * given[0])
    query = aligned.join(learned[1], given[1])
    expected = 0.7 * learned[0] @ learned[1].T + 0.3 * given[0] @ given[1].T
    torch.testing.assert_close(video @ query.T, expected)
    torch.testing.assert_close(video.norm(dim=-1), torch.ones(4))


def test_where_nothing_is_said_the_learned_space_decides_alone() -> None:
    """A moment of unit length all the same: an index takes no other."""
    torch.manual_seed(0)
    aligned = AlignedStream('text', E, share=0.3).eval()
    learned, query = unit(4, 3), aligned.join(unit(1, 3), unit(1, E))
    silent = aligned.join(learned, torch.zeros(4, E))
    torch.testing.assert_close(silent.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(silent @ query.T, 0.7**0.5 * learned @ query[:, :3].T)


def test_means_are_those_of_all_that_was_seen_in_training() -> None:
    torch.manual_seed(0)
    aligned = AlignedStream('text', E).train()
    x = torch.randn(3, 4, 5, E)
    mask = torch.rand(3, 4, 5) < 0.7
    mask[:] = mask[0]  # the batches count alike
    mask[:, 0, 0], x[:, 0, 0] = True, 0.0  # nothing is said: no clip
    for batch, valid in zip(x, mask):
        aligned.clips(batch, valid)
    said = mask & (x != 0).any(-1)
    mean = F.normalize(x, dim=-1)[said].mean(0)
    torch.testing.assert_close(aligned.clip_mean, mean)
    aligned.eval()
    found = aligned.clips(x[0], mask[0])
    torch.testing.assert_close(found[said[0]], F.normalize(x[0], dim=-1)[said[0]] - mean)
    assert not found[~said[0]].any()
    torch.testing.assert_close(aligned.clip_mean, mean)


@pytest.mark.parametrize('width', [E, 0])
def test_a_batch_in_which_nothing_is_said_leaves_the_mean(width: int) -> None:
    """No video of it has the stream, or none of its clips tells anything."""
    aligned = AlignedStream('text', E).train()
    one = torch.ones(2, 4, E), torch.ones(2, 4).bool()
    none = torch.zeros(2, 4, width), torch.zeros(2, 4).bool()
    assert torch.equal(aligned.clips(*none), torch.zeros(2, 4, E))
    aligned.clips(*one)
    mean = aligned.clip_mean.clone()
    for _ in range(3):
        aligned.clips(*none)
    assert torch.equal(aligned.clip_mean, mean)
    torch.testing.assert_close(mean, torch.full((E,), E**-0.5))
    aligned.clips(-one[0], one[1])
    torch.testing.assert_close(aligned.clip_mean, torch.zeros(E))


@pytest.mark.parametrize('absent', [(1,), (0, 1, 2)])
def test_videos_without_the_stream_are_answered_and_learnt_from(absent: tuple[int, ...]) -> None:
    model = tiny_model(aligned=ALIGNED_TEXT)
    data = tiny_data(streams=('visual', 'text'))
    data['inputs']['text'] = [
        None if v in absent else row[:, :TOKENS] for v, row in enumerate(data['inputs']['text'])
    ]
    for v in (0, 1, 2):
        (alone,) = predictions_of(model, only(data, v))
        beside = predictions_of(model, data)[v]
        for a, b in zip(alone.pred_moments, beside.pred_moments):
            torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-4)
    assert all(loss.isfinite() for loss in losses_of(model.train(), data).values())


def test_a_cell_is_the_mean_of_its_clips() -> None:
    x, mask = torch.randn(2, 8, E), torch.arange(8)[None] < torch.tensor([[8], [5]])
    cells = TemporalPyramid(4, num_levels=3, num_heads=1).average(x * mask[..., None], mask)
    assert cells.shape == (2, 8 + 4 + 2, E)
    torch.testing.assert_close(cells[:, :8], x * mask[..., None])
    torch.testing.assert_close(cells[0, 12], x[0, :4].mean(0))
    torch.testing.assert_close(cells[1, 8 + 2], x[1, 4])  # of which one clip is valid


def test_an_untrained_model_finds_what_the_encoder_knows() -> None:
    """Clips that hold what the sentence means are found among all clips of all videos."""
    config = tiny_config(
        aligned=[dict(type='AlignedStream', stream='visual', in_dim=TOKENS, share=0.9)],
    )
    config['streams']['visual']['in_dim'] = TOKENS
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    streams = torch.randn(3, 8, TOKENS)
    with torch.no_grad():
        meaning = model.encode_query(list(SENTENCES[:2])).meaning
        streams[2, 4:6], streams[0, 1] = 3 * meaning[0], meaning[1]
        videos = model.encode_video(dict(streams=dict(visual=(streams, torch.ones(3, 8).bool()))))
        queries = model.encode_query(list(SENTENCES[:2]))
    assert queries.shared.shape[1] == videos.shared.shape[2] == SHARED + TOKENS + 1
    cosine = torch.einsum('qs,vms->qvm', queries.shared, videos.shared)
    best = cosine.flatten(1).argmax(1)
    cells = videos.shared.shape[1]
    assert best[1] == 1
    assert best[0] in (2 * cells + 4, 2 * cells + 5, 2 * cells + 8 + 2)  # two clips, or their cell
    losses = model.train().loss(**prepared(model))
    assert all(loss.isfinite().all() for loss in losses.values())


def prepared(model: DeMUL) -> dict:
    """A batch whose features are as wide as the sentences' meaning."""
    data = tiny_data()
    data['inputs']['visual'] = [rows[:, :TOKENS] for rows in data['inputs']['visual']]
    return model.data_preprocessor(data)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_a_share_outside_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match='share'):
        AlignedStream('text', E, share=share)


def test_layers_that_no_aligned_stream_holds_are_refused() -> None:
    config = tiny_config(
        aligned=[dict(type='AlignedStream', stream='visual', in_dim=TOKENS, share=0.9)]
    )
    config['language']['lm'] = dict(type='TransformersLM', name='minilm', layers=(0, 4))
    with pytest.raises(ValueError, match='end them with -1'):
        MODELS.build(config)
