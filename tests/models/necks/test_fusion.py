"""Progressive fusion: what it is before training, who survives, who leaves early."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.models.necks import ProgressiveFusion
from demul_mm.models.necks.fusion import dual_encoder_pairs, mean_of_streams
from demul_mm.models.task_modules import PyramidPoints
from demul_mm.registry import MODELS
from demul_mm.structures import FusedPairs, QueryEncoding, VideoEncoding
from tests.models.tiny import DIM, SENTENCES, tiny_data, tiny_model

CLOSE = dict(rtol=1e-4, atol=1e-5)


class Pairs(NamedTuple):
    """What the neck is given."""

    videos: VideoEncoding
    queries: QueryEncoding
    points: PyramidPoints
    base: Tensor


def pairs_of(model: DeMUL) -> Pairs:
    with torch.no_grad():
        ready = model.data_preprocessor(tiny_data())['inputs']
        videos = model.encode_video(ready).select(torch.tensor([0, 1, 2, 2, 0]))
        queries = model.encode_query(list(SENTENCES))
        similarity = torch.einsum('rs,rms->rm', queries.shared, videos.shared)
        return Pairs(videos, queries, model.points(24), model.head.base_logit(similarity))


@pytest.fixture(scope='module')
def start(fresh: DeMUL) -> Pairs:
    return pairs_of(fresh)


@pytest.fixture(scope='module')
def pairs(trained: DeMUL) -> Pairs:
    return pairs_of(trained)


def fusion(like: ProgressiveFusion | None = None, **options) -> ProgressiveFusion:
    """A neck in general position, or one with the weights of another."""
    torch.manual_seed(5)
    neck = MODELS.build(dict(type='ProgressiveFusion', dim=DIM, num_heads=2, **options)).eval()
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    if like is not None:
        weights = neck.state_dict()
        weights.update({k: v for k, v in like.state_dict().items() if k in weights})
        neck.load_state_dict(weights)
    return neck


@torch.no_grad()
def run(neck: ProgressiveFusion, pairs: Pairs, keep: Tensor | None = None) -> FusedPairs:
    return neck(*pairs, keep)


# -- before training -----------------------------------------------------------------------------


@pytest.mark.parametrize('survivors', [None, 12])
@pytest.mark.parametrize('stages', [('sentence', 'phrases', 'words'), ('words',), ('phrases',)])
def test_untrained_it_is_the_dual_encoder(start: Pairs, stages, survivors):
    torch.manual_seed(0)
    neck = ProgressiveFusion(DIM, stages=stages, survivors=survivors, num_heads=2)
    found = run(neck, start)
    plain = dual_encoder_pairs(start.videos, start.points, start.base)
    mask = start.videos.mask
    assert torch.equal(found.dense_logit[mask], start.base[mask])
    assert torch.equal(found.clips, plain.clips)
    at = found.cell[..., None].expand(-1, -1, DIM)
    assert torch.equal(found.survivors[found.mask], plain.survivors.gather(1, at)[found.mask])
    for stage in found.stage_logits.unbind(1):
        assert torch.equal(stage[found.mask], start.base.gather(1, found.cell)[found.mask])


@pytest.mark.parametrize('bfloat16', [False, True])
def test_the_untrained_model_ranks_cells_by_similarity(fresh: DeMUL, bfloat16: bool):
    """By the exact one, also where the layers are not exact."""
    ready = fresh.data_preprocessor(tiny_data())['inputs']
    with torch.no_grad():
        videos, queries = fresh.encode_video(ready), fresh.encode_query(list(SENTENCES[:3]))
        number = torch.arange(3)
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            near = fresh.similarity(videos, queries, number, number)
            out = fresh.fuse(videos, queries, number, number, fresh.points(24), near)
        similarity = torch.einsum('rs,rms->rm', queries.shared, videos.shared)
    for r in range(3):
        chosen = out.cell[r][out.mask[r]]
        assert torch.equal(
            out.semantic[r][out.mask[r]], fresh.head.base_logit(similarity[r])[chosen]
        )
        # The 12 that survive are those most like the query.
        valid = videos.mask[r].nonzero()[:, 0]
        best = valid[similarity[r][valid].argsort(descending=True)[:12]]
        assert torch.equal(chosen, best.sort().values)


def test_each_stage_adds_to_the_first_alone(start: Pairs):
    neck = ProgressiveFusion(DIM, survivors=12, num_heads=2).eval()
    for stage, bias in zip(neck.stages, (0.0, 1.0, 0.0)):
        torch.nn.init.constant_(stage.logit.bias, bias)
    first, second, third = run(neck, start).stage_logits.unbind(1)
    torch.testing.assert_close(second, first + 1)
    torch.testing.assert_close(third, first)


# -- survivors -----------------------------------------------------------------------------------


def test_survivors_are_the_best_cells_of_the_first_stage(pairs: Pairs):
    found = run(fusion(survivors=7), pairs)
    for r in range(5):
        logit = found.dense_logit[r].masked_fill(~pairs.videos.mask[r], -torch.inf)
        assert found.cell[r].tolist() == sorted(logit.topk(7).indices.tolist())
    assert torch.equal(found.stage_logits[:, 0], found.dense_logit.gather(1, found.cell))
    assert bool(found.mask.all())


def test_kept_cells_always_survive(pairs: Pairs):
    neck = fusion(survivors=7)
    worst = (
        run(neck, pairs).dense_logit.masked_fill(~pairs.videos.mask, torch.inf).argsort(1)[:, :3]
    )
    keep = torch.zeros_like(pairs.videos.mask).scatter(1, worst, True)
    found = run(neck, pairs, keep)
    for r in range(5):
        assert set(worst[r].tolist()) <= set(found.cell[r].tolist())


def test_a_short_video_has_masked_candidates_without_a_say(pairs: Pairs):
    """Video 1 has 15 valid cells; with room for 20 the rest is padding."""
    found = run(fusion(survivors=20), pairs)
    assert found.mask.sum(1).tolist() == [20, 15, 20, 20, 20]
    assert not found.survivors[~found.mask].any()
    alone = run(fusion(survivors=15), pairs)
    mask = found.mask[1]
    assert torch.equal(found.cell[1][mask], alone.cell[1])
    torch.testing.assert_close(found.survivors[1][mask], alone.survivors[1], **CLOSE)
    torch.testing.assert_close(found.stage_logits[1][:, mask], alone.stage_logits[1], **CLOSE)


def test_room_for_more_than_all_changes_nothing(pairs: Pairs):
    number = pairs.base.shape[1]
    one, two = run(fusion(survivors=number), pairs), run(fusion(survivors=10 * number), pairs)
    assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_without_a_limit_cells_talk_to_neighbours_after_the_first_stage_too(pairs: Pairs):
    """None is another mixing, not merely a large number; the first stage is the same."""
    free, limited = fusion(survivors=None), fusion(survivors=10_000)
    limited.load_state_dict({**limited.state_dict(), **_common(free, limited)})
    one, two = run(free, pairs), run(limited, pairs)
    assert torch.equal(one.dense_logit, two.dense_logit)
    assert torch.equal(one.cell, two.cell)
    assert not torch.equal(one.survivors, two.survivors)


def _common(source: torch.nn.Module, target: torch.nn.Module) -> dict[str, Tensor]:
    shapes = {k: v.shape for k, v in target.state_dict().items()}
    return {k: v for k, v in source.state_dict().items() if shapes.get(k) == v.shape}


@pytest.mark.parametrize('survivors', [None, 12])
def test_pairs_do_not_meet(pairs: Pairs, survivors):
    neck = fusion(survivors=survivors)
    together = run(neck, pairs)
    for r in range(5):
        row = torch.tensor([r])
        alone = run(
            neck,
            pairs._replace(
                videos=pairs.videos.select(row),
                queries=pairs.queries.select(row),
                base=pairs.base[row],
            ),
        )
        assert torch.equal(alone.cell[0], together.cell[r])
        torch.testing.assert_close(alone.survivors[0], together.survivors[r], **CLOSE)
        torch.testing.assert_close(alone.stage_logits[0], together.stage_logits[r], **CLOSE)


def test_padded_words_are_not_read(pairs: Pairs):
    neck = fusion(survivors=12)
    words = pairs.queries.words
    noise = torch.where(pairs.queries.word_mask[..., None], words, torch.randn_like(words))
    other = pairs._replace(queries=pairs.queries._replace(words=noise))
    one, two = run(neck, pairs), run(neck, other)
    torch.testing.assert_close(one.stage_logits, two.stage_logits, **CLOSE)


# -- early exit ----------------------------------------------------------------------------------


def test_nobody_leaves_early_when_certainty_is_out_of_reach(pairs: Pairs):
    never = fusion(survivors=12)
    beyond = fusion(never, survivors=12, early_exit=1.5)
    assert all(torch.equal(a, b) for a, b in zip(run(never, pairs), run(beyond, pairs)))


@pytest.mark.parametrize('survivors', [None, 12])
def test_all_leave_after_the_first_stage_at_zero(pairs: Pairs, survivors):
    whole = fusion(survivors=survivors, early_exit=0.0)
    prefix = fusion(whole, survivors=survivors, stages=('sentence',))
    found, expected = run(whole, pairs), run(prefix, pairs)
    assert torch.equal(found.survivors, expected.survivors)
    assert torch.equal(found.cell, expected.cell)
    for stage in found.stage_logits.unbind(1):
        assert torch.equal(stage, expected.stage_logits[:, 0])


def test_each_pair_leaves_by_its_own_certainty(pairs: Pairs):
    whole = fusion(survivors=12)
    full = run(whole, pairs)
    best = full.stage_logits[:, 0].masked_fill(~full.mask, -torch.inf).amax(1).sigmoid()
    limit = best.sort().values[1:4].mean().item()
    leaves = best >= limit
    assert 0 < leaves.sum() < 5
    found = run(fusion(whole, survivors=12, early_exit=limit), pairs)
    exited = found.stage_logits[leaves]
    assert torch.equal(exited[:, 1], exited[:, 0])
    assert torch.equal(exited[:, 2], exited[:, 0])
    after = full.stage_logits[:, 1].masked_fill(~full.mask, -torch.inf).amax(1).sigmoid()
    stays = ~leaves & (after < limit)
    torch.testing.assert_close(found.stage_logits[stays], full.stage_logits[stays], **CLOSE)
    torch.testing.assert_close(found.survivors[stays], full.survivors[stays], **CLOSE)


def test_in_training_all_stages_run(pairs: Pairs):
    whole = fusion(survivors=12)
    eager = fusion(whole, survivors=12, early_exit=0.0).train()
    assert torch.equal(run(eager, pairs).stage_logits, run(whole, pairs).stage_logits)


# -- streams, options -------------------------------------------------------------------


def test_streams_are_mixed_by_the_query_and_an_absent_one_is_left_out(pairs: Pairs):
    neck = fusion(num_streams=2)
    points = torch.randn(5, 2, pairs.base.shape[1], DIM)
    stream_mask = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [1, 1]]).bool()
    videos = pairs.videos._replace(points=points, stream_mask=stream_mask)
    with torch.no_grad():
        found = neck.mix_streams(videos, pairs.queries.sentence)
    assert torch.equal(found[1], points[1, 0])
    assert torch.equal(found[2], points[2, 1])
    shares = []
    for r in (0, 3, 4):
        difference = points[r, 0] - points[r, 1]
        share = (found[r] - points[r, 1]) / difference
        assert share.std() < 1e-2  # one number for the whole video
        shares.append(share.median().item())
    assert len({round(share, 4) for share in shares}) == 3  # another for each query


def test_the_mean_is_over_the_streams_that_are_there():
    features = torch.randn(2, 2, 3, 4)
    found = mean_of_streams(features, torch.tensor([[True, False], [True, True]]))
    torch.testing.assert_close(found[0], features[0, 0])
    torch.testing.assert_close(found[1], features[1].mean(0))


@pytest.mark.parametrize('stages', [(), ('sentence', 'letters')])
def test_unknown_stages_are_refused(stages):
    with pytest.raises(ValueError, match='allowed: one or more of sentence, phrases, words'):
        ProgressiveFusion(DIM, stages=stages)


def test_heads_share_the_width():
    with pytest.raises(ValueError, match='dim 32 is not a multiple of num_heads 5'):
        tiny_model(neck=dict(num_heads=5))
    tiny_model(neck=dict(num_heads=5, survivors=None))  # nothing attends
