"""What every method in ``projects`` keeps to, whatever it is: the laws of its batches."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor

from demul_mm.analysis.encoding import answered_entries
from demul_mm.apis.loading import load_localizer, load_model
from demul_mm.models.localizers import OwnVideoLocalizer
from demul_mm.registry import MODELS
from tests.test_configs import PATHS, name_of, needs_mmaction, shrunk, skip_without, video

PROJECTS = [
    pytest.param(path, id=name_of(path), marks=[pytest.mark.slow] * needs_mmaction(path))
    for path in PATHS
    if 'projects' in path.parts and 'mmaction_scope' not in path.parts
]


@pytest.fixture(params=PROJECTS, scope='module')
def built(request: pytest.FixtureRequest) -> tuple[Config, OwnVideoLocalizer, dict[str, Tensor]]:
    """A config, its model, and the weights that it begins with."""
    skip_without(request.param)
    config = Config.fromfile(request.param)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(shrunk(config.model.to_dict())).eval()
    return config, model, copy.deepcopy(model.state_dict())


@pytest.fixture
def config(built: tuple) -> Iterator[Config]:
    with DefaultScope.overwrite_default_scope(built[0].default_scope):
        yield built[0]


@pytest.fixture
def model(built: tuple) -> OwnVideoLocalizer:
    _, model, weights = built
    model.load_state_dict(weights)
    model.zero_grad()
    return model.eval()


def batch_of(config: Config, *seeds: int) -> dict:
    return pseudo_collate([video(config, seed, 'test') for seed in seeds])


def losses_of(model: OwnVideoLocalizer, batch: dict) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return model(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')


def moments_of(model: OwnVideoLocalizer, batch: dict) -> list[Tensor]:
    samples = model(**model.data_preprocessor(copy.deepcopy(batch), False), mode='predict')
    return [
        torch.cat([found.spans.flatten(), found.scores])
        for sample in samples
        for found in sample.pred_moments
    ]


def test_a_batch_of_two_is_two_of_one(config: Config, model: OwnVideoLocalizer) -> None:
    both = moments_of(model, batch_of(config, 2, 3))
    alone = [*moments_of(model, batch_of(config, 2)), *moments_of(model, batch_of(config, 3))]
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing(config: Config, model: OwnVideoLocalizer) -> None:
    batch = batch_of(config, 2, 3)
    short = {name: [rows[0][:6], rows[1]] for name, rows in batch['inputs'].items()}
    padded = moments_of(model, dict(batch, inputs=short))[:3]
    first = {name: rows[:1] for name, rows in short.items()}
    plain = moments_of(model, dict(inputs=first, data_samples=batch['data_samples'][:1]))
    torch.testing.assert_close(padded, plain, atol=1e-4, rtol=1e-4)


def test_a_gradient_reaches_every_parameter(config: Config, model: OwnVideoLocalizer) -> None:
    total, _ = model.parse_losses(losses_of(model, batch_of(config, 0, 1)))
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_losses_are_in_float32_where_products_are_not(
    config: Config, model: OwnVideoLocalizer
) -> None:
    batch = batch_of(config, 0, 1)
    exact = losses_of(model, batch)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = losses_of(model, batch)
        moments_of(model, batch)
    assert rough.keys() == exact.keys()
    for name, loss in rough.items():
        assert loss.dtype == torch.float32, name
        torch.testing.assert_close(loss, exact[name], rtol=0.1, atol=0.05)


def test_queries_without_truth_are_no_fault(config: Config, model: OwnVideoLocalizer) -> None:
    batch = batch_of(config, 0, 1)
    for sample in batch['data_samples']:
        sample.gt_spans = [torch.zeros(0, 2) for _ in sample.queries]
    total, _ = model.parse_losses(losses_of(model, batch))
    assert total.isfinite()


def test_it_learns(config: Config, model: OwnVideoLocalizer) -> None:
    batch = batch_of(config, 0, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(15):
        total, _ = model.parse_losses(losses_of(model, batch))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


def test_it_is_loaded_as_it_was_saved(
    config: Config, model: OwnVideoLocalizer, tmp_path: Path
) -> None:
    """Analyses ask any method; the inferencers, which keep encodings, take DeMUL alone."""
    path, small = tmp_path / 'weights.pth', Config(dict(model=shrunk(config.model.to_dict())))
    torch.save(dict(state_dict=model.state_dict()), path)
    loaded, _ = load_localizer(small, path, 'cpu')
    batch = batch_of(config, 2, 3)
    entries = answered_entries(loaded, [copy.deepcopy(batch)])
    plain = answered_entries(model, [copy.deepcopy(batch)])
    assert len(entries) == sum(len(sample.queries) for sample in batch['data_samples'])
    assert entries == plain
    with pytest.raises(TypeError, match='inferencers take a model of type DeMUL'):
        load_model(small, path, 'cpu')


def test_a_choice_by_joint_scores_is_refused(config: Config) -> None:
    wrong = shrunk(config.model.to_dict())
    wrong['test_cfg'] = dict(nms=dict(type='ExpectedRecall'))
    with pytest.raises(ValueError, match='use MomentNMS or SoftNMS'):
        MODELS.build(wrong)
