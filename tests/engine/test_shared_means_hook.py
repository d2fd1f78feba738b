"""The shared space is centred by the training split: true moments and their queries lie alike."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.engine.encoding import best_cells, encode_batches
from demul_mm.engine.hooks import SharedMeansHook
from demul_mm.engine.hooks.shared_means import inputs_of
from demul_mm.models.localizers import DeMUL
from tests.engine.tiny import write_tiny_demul
from tests.models.tiny import WORD_MATCH, only, tiny_data, tiny_model, with_words

LENGTHS, QUERIES = (13, 8, 20, 17), (2, 1, 3, 0)  # the last video is asked nothing


def centred_model() -> DeMUL:
    return tiny_model(decoupler=dict(momentum=0.1, dropout=0.0))


def off_the_means(model: DeMUL, data: dict) -> tuple[Tensor, Tensor]:
    """What is left of true moments ``(n, S)`` and queries ``(Q, S)``, before it has length one."""
    with inputs_of(model.decoupler.centring) as seen:
        (batch,) = encode_batches(model, [data])
    query, cell = best_cells(model, batch)
    levels = model.points(model.padded_clips(batch.videos), cell.device).levels[cell]
    moments = seen[0][batch.owner[query], cell] - model.decoupler.video_means[levels]
    return moments, seen[1][:, 0] - model.decoupler.query_means


def test_true_moments_and_queries_lie_around_one_centre() -> None:
    model, data = centred_model(), tiny_data(LENGTHS, QUERIES)
    cells, queries = SharedMeansHook().means(model, [data])
    model.decoupler.video_means.copy_(cells)
    model.decoupler.query_means.copy_(queries)
    for rows in off_the_means(model, data):
        assert len(rows) == 6
        assert rows.norm(dim=1).min() > 0.1
        assert rows.mean(0).norm() < 1e-5


def test_the_first_moment_that_the_clips_show_counts() -> None:
    model, data = centred_model(), tiny_data((13, 8), (2, 1))
    first, second = data['data_samples']
    first.set_metainfo(dict(extent=20.0))
    first.gt_spans = [[[21.0, 26.0], [3.0, 6.0]], [[20.0, 26.0]]]
    second.gt_spans = [[[3.0, 6.0], [10.0, 12.0]]]
    (batch,) = encode_batches(model, [data])
    query, cell = best_cells(model, batch)
    assert query.tolist() == [0, 2]
    first.gt_spans = [[[3.0, 6.0]], []]
    (batch,) = encode_batches(model, [data])
    assert cell.tolist() == best_cells(model, batch)[1].tolist()


def test_levels_differ_by_the_means_of_their_cells() -> None:
    model, data = centred_model(), tiny_data((16,), (2,))  # as long as it is padded
    cells, _ = SharedMeansHook().means(model, [data])
    with inputs_of(model.decoupler.centring) as seen:
        next(encode_batches(model, [data]))
    of_level = [rows.mean(1)[0] for rows in seen[0].split(model.points(16, 'cpu').level_sizes, 1)]
    off = cells - torch.stack(of_level)
    torch.testing.assert_close(off, off[:1].expand_as(off), atol=1e-5, rtol=0)
    assert off[0].norm() > 0.01


def test_how_videos_are_put_into_batches_does_not_matter() -> None:
    model, data = centred_model(), tiny_data(LENGTHS, QUERIES)
    one = SharedMeansHook().means(model, [data])
    more = SharedMeansHook().means(model, [only(data, 2, 0), only(data, 1, 3)])
    for a, b in zip(one, more):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_video_without_the_towers_streams_tells_nothing() -> None:
    """Neither the hook nor the running means of the training, though it has words."""
    model = tiny_model(decoupler=dict(momentum=0.1, dropout=0.0), **WORD_MATCH)
    data = with_words(tiny_data(LENGTHS, QUERIES))
    data['inputs']['visual'][2] = None
    without = only(data, 0, 1, 3)
    cells = [SharedMeansHook().means(model, [batch])[0] for batch in (data, without)]
    torch.testing.assert_close(*cells, atol=1e-5, rtol=1e-4)
    found = []
    for batch in (data, without):
        model.decoupler.video_means.zero_()
        model.train().encode_video(model.data_preprocessor(batch)['inputs'])
        found.append(model.decoupler.video_means.clone())
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_what_no_video_tells_stays_as_it_was() -> None:
    model = centred_model()
    model.decoupler.video_means.fill_(3.0)
    model.decoupler.query_means.fill_(2.0)
    cells, queries = SharedMeansHook().means(model, [])
    assert (cells == 3).all()
    assert (queries == 2).all()


def test_a_data_set_made_of_others_keeps_the_running_means() -> None:
    model, told = centred_model(), []
    model.decoupler.video_means.fill_(3.0)
    concat = dict(type='ConcatDataset', datasets=[])
    loader = SimpleNamespace(dataset=concat)
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        train_loop=loader,
        cfg=dict(train_dataloader=loader, val_dataloader=loader),
        logger=SimpleNamespace(info=told.append),
    )
    SharedMeansHook().before_val_epoch(runner)
    assert (model.decoupler.video_means == 3).all()
    assert 'keeps its running means' in told[0]


def means_of(checkpoint: Path) -> list[Tensor]:
    weights = read_checkpoint(checkpoint)
    parts = ('state_dict', 'ema_state_dict')
    return [value for part in parts for name, value in weights[part].items() if '_means' in name]


@pytest.mark.slow
def test_a_resumed_run_has_the_means_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    config = Config.fromfile(write_tiny_demul(tmp_path / 'data'))
    config.merge_from_dict({'model.decoupler.momentum': 0.1})
    ends = []
    for name, stops in (('whole', (3,)), ('resumed', (2, 3))):
        config.work_dir = str(tmp_path / name)
        for epochs in stops:  # no learning rate depends on how long it lasts
            config.merge_from_dict({'train_cfg.max_epochs': epochs, 'param_scheduler': []})
            config.resume = epochs > stops[0]
            Runner.from_cfg(config).train()
        ends.append(means_of(tmp_path / name / 'epoch_3.pth'))
    assert len(ends[0]) == 4
    for one, other in zip(*ends):
        assert one.any()
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize('momentum', [0.0, 0.1])
def test_the_best_checkpoint_holds_the_means_of_its_averaged_weights(
    tmp_path: Path, momentum: float
) -> None:
    config = Config.fromfile(write_tiny_demul(tmp_path / 'data'))
    config.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'run'),
            'train_cfg.max_epochs': 2,
            'model.decoupler.momentum': momentum,
        }
    )
    runner = Runner.from_cfg(config)
    runner.train()
    (best,) = (tmp_path / 'run').glob('best_*.pth')
    model = Runner.from_cfg(config).model
    model.load_state_dict(read_checkpoint(best)['state_dict'], strict=False)
    decoupler = model.eval().decoupler
    if not momentum:
        assert not decoupler.video_means.any()
        return
    plain = {**config.train_dataloader.dataset, 'pipeline': config.val_dataloader.dataset.pipeline}
    loader = Runner.build_dataloader(
        dict(
            dataset=plain, batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
    )  # fmt: skip
    cells, queries = SharedMeansHook().means(model, loader)
    torch.testing.assert_close(decoupler.video_means, cells.float(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(decoupler.query_means, queries.float(), atol=1e-4, rtol=1e-3)
