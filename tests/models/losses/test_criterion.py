"""The criterion: one table of weights, and what the fused pairs are taught."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.heads.candidates import HeadOutput
from demul_mm.models.losses import MomentCriterion
from demul_mm.models.losses.criterion import WEIGHTS
from demul_mm.models.losses.targets import touching
from demul_mm.models.task_modules import ScaleAssigner
from demul_mm.registry import MODELS
from tests.models.heads.test_unified import CELLS, POINTS, all_spans, head, output
from tests.models.tiny import losses_of, tiny_config, tiny_data, tiny_model


def pair_losses(out: HeadOutput, spans: Tensor, span_mask: Tensor) -> dict[str, Tensor]:
    """The weighted losses of fused pairs whose true spans are in clips."""
    criterion = MomentCriterion()
    scores, _ = head().score(out, out.spans.detach())
    targets = criterion.targets(POINTS, out.cell_mask, spans, span_mask)
    terms = criterion.pair_terms(out, scores, targets)
    return {name: criterion.weights[name] * term for name, term in terms.items()}


def losses(out: HeadOutput, *truth: tuple[float, float]) -> dict[str, Tensor]:
    spans = torch.tensor([truth]).reshape(1, -1, 2)
    return pair_losses(out, spans, torch.ones(1, len(truth), dtype=torch.bool))


def test_a_perfect_answer_costs_less_than_any_other():
    truth = torch.tensor([2.0, 5.0])
    positive, _ = ScaleAssigner()(
        POINTS, POINTS.valid(torch.tensor([8])), truth[None, None], torch.ones(1, 1).bool()
    )
    logit = torch.where(positive, 12.0, -12.0)
    curve = torch.full((1, 8), -12.0)
    inside = curve.clone()
    inside[0, 2:5] = 12
    spans = truth.expand(1, CELLS, 2)
    perfect = output(
        spans,
        semantic=logit,
        dense_logit=logit,
        stage_logits=logit[:, None].expand(-1, 3, -1),
        quality=torch.full((1, CELLS), 12.0),
        inside=inside,
    )
    found = losses(perfect, (2.0, 5.0))
    for name in ('semantic', 'span', 'quality', 'stages', 'inside'):
        assert found[name].item() == pytest.approx(0, abs=1e-4), name
    worse = dict(
        semantic=-logit,
        stage_logits=-logit[:, None].expand(-1, 3, -1),
        quality=-perfect.quality,
        inside=-inside,
        spans=spans + 1,
    )
    for name, value in worse.items():
        bad = losses(perfect._replace(**{name: value}), (2.0, 5.0))
        assert sum(bad.values()) > sum(found.values()) + 0.1, name


def test_of_several_true_moments_the_nearest_counts():
    """Each annotator's moment is right."""
    spans = torch.tensor([[[0.0, 2.0]] * 8 + [[5.0, 8.0]] * 6])
    out = output(spans, quality=torch.full((1, CELLS), 12.0))
    assert losses(out, (0.0, 2.0), (5.0, 8.0))['quality'].item() < 1e-4
    assert losses(out, (0.0, 2.0))['quality'].item() > 1


def test_only_the_loss_of_borders_moves_borders():
    spans = all_spans()[:, :CELLS].clone().requires_grad_()
    moved = []
    for name, loss in losses(output(spans), (2.0, 5.0)).items():
        spans.grad = None
        if loss.requires_grad:
            loss.backward(retain_graph=True)
        if spans.grad is not None:
            moved.append(name)
    assert moved == ['span']


def test_a_masked_candidate_has_no_borders_to_learn():
    more = dict(
        cell=torch.zeros(1, 1, dtype=torch.long),
        anchors=torch.tensor([[[2.0, 5.0]]]),
        mask=torch.tensor([[True, False]]),
    )
    one, two = (
        losses(output(torch.tensor([[[2.0, 5.0], borders]]), **more), (2.0, 5.0))['span']
        for borders in ([2.0, 5.0], [6.0, 7.0])
    )
    assert one.item() == two.item()


def test_the_last_stage_is_what_the_head_corrects():
    logits = torch.randn(1, 3, CELLS, generator=torch.Generator().manual_seed(0))
    moved = logits.clone()
    moved[:, -1] += 5
    spans = all_spans()[:, :CELLS]
    one, two = (losses(output(spans, stage_logits=x), (2.0, 5.0)) for x in (logits, moved))
    assert one['stages'] == two['stages']


def test_a_pair_without_truth_is_a_negative_alone():
    torch.manual_seed(0)
    spans = all_spans()[:, :CELLS]
    out = output(spans, semantic=torch.zeros(1, CELLS, requires_grad=True))
    found = pair_losses(out, torch.zeros(1, 2, 2), torch.zeros(1, 2, dtype=torch.bool))
    for name in ('span', 'quality', 'boundary', 'joint'):
        assert found[name].item() == 0, name
    assert found['semantic'].item() == pytest.approx(CELLS * 0.25 * 0.6931, rel=1e-3)
    no_slot = pair_losses(out, torch.zeros(1, 0, 2), torch.zeros(1, 0).bool())
    assert {k: v.item() for k, v in no_slot.items()} == {k: v.item() for k, v in found.items()}


def test_a_moment_behind_the_clips_is_neither_contrasted_nor_remembered():
    model, data = tiny_model(), tiny_data(num_queries=(1, 1, 1))
    gone = data['data_samples'][1]
    gone.set_metainfo(dict(extent=8.0))
    gone.gt_spans = [[[10.0, 15.0]]]
    contrast = model.criterion.retrieval.contrast
    seen = []
    contrast.register_forward_hook(lambda _, args, __: seen.append(args))
    losses_of(model.train(), data)
    _, same, mask, _ = seen[2]  # after videos both ways: moments and queries
    assert torch.equal(same, torch.tensor([1.0, 0.0, 1.0]).diag().bool())
    assert mask.all()  # the query itself is a negative of the other moments
    assert model.memory.count == 2
    torch.testing.assert_close(model.memory.moments[:2].norm(dim=1), torch.ones(2))


def test_cells_that_touch_the_moment_are_no_negatives():
    model = tiny_model(memory=None).train()
    given: list = []
    model.criterion.register_forward_pre_hook(lambda _, args: given.extend(args))
    losses_of(model, tiny_data())
    batch, targets, *_ = given
    touches = touching(batch.points, targets.spans, targets.mask)
    beside = touches & ~targets.positive & batch.videos.mask[batch.owner]
    assert beside.any()
    mine = torch.arange(len(beside)), batch.owner
    changed = batch.similarity.clone()
    changed[mine] = torch.where(beside, 1.0, changed[mine])
    one, two = (
        model.criterion.shared_terms(batch._replace(similarity=similarity), targets, None)
        for similarity in (batch.similarity, changed)
    )
    assert one['moment'].equal(two['moment'])


def test_side_by_side_is_not_touching():
    found = touching(POINTS, torch.tensor([[[2.0, 4.0]]]), torch.ones(1, 1).bool())
    assert found[0, :8].tolist() == [False, False, True, True, False, False, False, False]


def test_the_memory_is_filled_in_training_alone():
    model, counts = tiny_model(), []
    for training in (False, True):
        losses_of(model.train(training), tiny_data())
        counts.append(int(model.memory.count))
    assert counts == [0, 5]


@pytest.mark.parametrize('truth', [(2.0, 5.0), (2.0, 2.4), (2.3, 2.9), (2.8, 3.3)])
def test_a_moment_shorter_than_a_clip_is_inside_somewhere(truth: tuple[float, float]):
    """The inside curve wants to be where the moment is, as far as it fills a clip."""
    inside = torch.zeros(1, 8, requires_grad=True)
    out = output(all_spans()[:, :CELLS], inside=inside)
    (losses(out, truth)['inside'] / 0.5).backward()
    wanted = 0.5 - 8 * inside.grad[0]  # the gradient of a mean cross-entropy at p = 1/2
    covered = [max(0.0, min(truth[1], t + 1) - max(truth[0], t)) for t in range(8)]
    assert wanted.tolist() == pytest.approx(covered, abs=1e-5)


def test_losses_are_finite_for_degenerate_truth():
    spans = all_spans()[:, :CELLS].clone().requires_grad_()
    for truth in ((0.0, 0.0), (8.0, 8.0), (3.0, 3.0)):
        found = losses(output(spans), truth)
        assert all(value.isfinite() for value in found.values())
        sum(found.values()).backward()
        assert bool(spans.grad.isfinite().all())


# -- the table -----------------------------------------------------------------------------------


def test_each_loss_weighs_what_the_table_says():
    """Every term is twice as large at twice its weight, and the others stay."""
    weights = {**WEIGHTS, 'decorrelation': 0.1, 'confusion': 0.01, 'distillation': 0.2}
    one = losses_of(tiny_model(criterion=dict(weights=weights)), tiny_data())
    assert set(one) == {f'loss_{name}' for name in WEIGHTS}
    for name in WEIGHTS:
        doubled = {**weights, name: 2 * weights[name]}
        two = losses_of(tiny_model(criterion=dict(weights=doubled)), tiny_data())
        for key in one:
            factor = 2 if key == f'loss_{name}' else 1
            torch.testing.assert_close(two[key], factor * one[key])


def test_a_term_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"weights has 'sematic'; allowed: moment, query"):
        MomentCriterion(weights=dict(sematic=1.0))


def test_an_option_that_is_not_there_is_refused():
    with pytest.raises(TypeError, match=r"DeMUL.*unexpected keyword argument 'nekc'"):
        MODELS.build(dict(tiny_config(), nekc={}))
