"""Moment-DETR is itself: its size, its matcher, its losses."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from demul_mm.registry import MODELS
from projects.moment_detr import MomentDETR, SetMatcher
from projects.moment_detr.matcher import generalized_iou, to_borders, to_center_width
from projects.moment_detr.model import with_place
from tests.models.tiny import TinyTokenizer  # noqa: F401  (registered)


@MODELS.register_module()
class ClipTokens(nn.Module):
    """In place of CLIP's text encoder: 512 values a token."""

    out_dim = 512

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return ids[..., None].float().expand(-1, -1, 512)


def build(in_dim: int, **options: object) -> MomentDETR:
    torch.manual_seed(0)
    language = dict(type='WordProjection', lm=dict(type='ClipTokens'), dim=256, positions=32)
    config = dict(type='MomentDETR', language=language, streams=dict(visual=dict(in_dim=in_dim)))
    config['data_preprocessor'] = dict(
        type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
    )
    return MODELS.build(dict(config, **options))


@pytest.mark.parametrize(('in_dim', 'count'), [(2816, 4_823_305), (512, 4_228_873)])
def test_parameters(in_dim: int, count: int) -> None:
    """Of the published model, whose features end in two values of place."""
    assert sum(p.numel() for p in build(in_dim).parameters()) == count


def truth(rng: torch.Generator, num: int, moments: int) -> Tensor:
    return torch.rand(num, moments, 2, generator=rng).sort(-1).values


@pytest.mark.parametrize('moments', [1, 2, 3])
def test_the_matcher_is_optimal(moments: int) -> None:
    rng = torch.Generator().manual_seed(moments)
    matcher = SetMatcher()
    spans = to_center_width(truth(rng, 20, 4))
    prob, true = torch.rand(20, 4, generator=rng), truth(rng, 20, moments)
    index, matched = matcher(prob, spans, true, torch.ones(20, moments, dtype=torch.bool))
    assert matched.all()
    cost = matcher.cost(prob, spans, true)
    for q in range(20):
        found = index[q].tolist()
        assert len(set(found)) == moments
        best = min(
            sum(float(cost[q, n, g]) for g, n in enumerate(chosen))
            for chosen in permutations(range(4), moments)
        )
        assert sum(float(cost[q, n, g]) for g, n in enumerate(found)) == pytest.approx(best)


def test_moments_that_are_not_there_are_not_matched() -> None:
    rng = torch.Generator().manual_seed(0)
    spans, true = to_center_width(truth(rng, 2, 3)), truth(rng, 2, 2)
    mask = torch.tensor([[True, False], [False, False]])
    _, matched = SetMatcher()(torch.rand(2, 3, generator=rng), spans, true, mask)
    assert matched.tolist() == mask.tolist()
    alone, _ = SetMatcher()(torch.zeros(2, 3), spans, true[:, :1], mask[:, :1])
    assert alone.shape == (2, 1)
    more = truth(rng, 1, 5)
    _, matched = SetMatcher()(torch.zeros(1, 3), spans[:1], more, torch.ones(1, 5).bool())
    assert matched.sum() == 3


def test_generalized_iou() -> None:
    a = torch.tensor([0.0, 1.0])
    b = torch.tensor([[0.0, 1.0], [0.5, 1.5], [2.0, 3.0]])
    torch.testing.assert_close(generalized_iou(a, b), torch.tensor([1.0, 1 / 3, -1 / 3]))
    torch.testing.assert_close(to_borders(to_center_width(b)), b)


def test_losses_of_a_model_that_knows_nothing() -> None:
    """Ten predictions of even odds cost 4 ln 2 (1 + 9 x .1) / 10; twice the margin is salient."""
    model = build(512)
    true, mask = torch.tensor([[[0.2, 0.6]]]), torch.ones(1, 1, dtype=torch.bool)
    spans = to_center_width(true).expand(1, 10, 2)
    losses = model.set_losses(torch.zeros(1, 10, 2), spans, true, mask)
    assert float(losses['span']) == float(losses['giou']) == pytest.approx(0, abs=1e-6)
    assert float(losses['label']) == pytest.approx(4 * 0.693147 * 1.9 / 10, rel=1e-4)
    clips = torch.ones(1, 8, dtype=torch.bool)
    saliency = model.saliency_loss(torch.zeros(1, 8), true, mask, clips)
    assert float(saliency) == pytest.approx(0.4)
    inside = torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0.0]])
    assert float(model.saliency_loss(inside, true, mask, clips)) == 0
    whole = torch.tensor([[[0.0, 1.0]]])  # no clip is outside
    assert float(model.saliency_loss(inside, whole, mask, clips)) == 0


def test_clips_know_their_place() -> None:
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    placed = with_place(torch.randn(2, 4, 5), mask)
    norms = placed[..., :5].norm(dim=-1)
    torch.testing.assert_close(norms, mask.float())
    torch.testing.assert_close(placed[1, :, 5:], torch.tensor([[0, 0.5], [0.5, 1], [0, 0], [0, 0]]))
