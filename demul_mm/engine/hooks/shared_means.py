"""Centre the shared space by the training split."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from demul_mm.engine.encoding import best_cells, encode_batches
from demul_mm.engine.models import models_of, unwrapped
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import DATASETS, HOOKS


class LevelSums:
    """Sums of vectors, and of how many, for each of ``L`` levels.

    Args:
        means: ``(L, S)``, as which the sums are shaped.
    """

    def __init__(self, means: Tensor) -> None:
        self.total = torch.zeros_like(means, dtype=torch.float64)  # (L, S)
        self.number = self.total.new_zeros(len(means), 1)  # (L, 1)

    def add(self, rows: Tensor, levels: Tensor) -> None:
        """Vectors ``(n, S)`` of ``levels (n,)``."""
        self.total.index_add_(0, levels, rows.double())
        self.number.index_add_(0, levels, self.number.new_ones(len(rows), 1))

    def gather(self) -> None:
        """Add up those of all ranks."""
        all_reduce(self.total)
        all_reduce(self.number)

    @property
    def means(self) -> Tensor:
        """``(L, S)``; zero where nothing is known."""
        return self.total / self.number.clamp(min=1)


@HOOKS.register_module()
@dataclass(eq=False)
class SharedMeansHook(Hook):
    """Before each validation, take the means of the shared space over the training split.

    The running means of training are of weights that have changed since and are not the averaged
    ones; and the moments of queries differ from the average of a video. So videos of the
    training split are encoded as those of the validation split are read, not augmented. Queries
    lose their mean. Cells lose that of their level, and all of them the mean by which true moments
    are off it: true moments and their queries lie around one centre.

    Nothing is done for a model that is not centred, for a data set that is made of others, nor
    while testing.

    Args:
        max_videos: so many, evenly spread over the split, are enough.
    """

    # After the EMA hook has put the averaged weights in place.
    priority = 'BELOW_NORMAL'

    max_videos: int = 1000
    _loader: DataLoader | None = None  # of the training videos, once they are asked for

    def before_val_epoch(self, runner: Runner) -> None:
        if runner.train_loop is not None:
            self.learn(runner, unwrapped(runner.model))

    def learn(self, runner: Runner, model: DeMUL) -> None:
        """Centre the models of the run by the training split, as ``model`` encodes it."""
        if not model.decoupler.centring.momentum:
            return
        if self._loader is None:
            self._loader = self._videos(runner)
        if self._loader is None:
            runner.logger.info(
                'the shared space keeps its running means: the train or the validation data set '
                'is made of others'
            )
            return
        model.eval()
        cells, queries = self.means(model, self._loader)
        for each in models_of(runner):
            each.decoupler.video_means.copy_(cells)
            each.decoupler.query_means.copy_(queries)
        runner.logger.info('the shared space is centred by the training videos')

    def _videos(self, runner: Runner) -> DataLoader | None:
        """This rank's share of the training videos, in batches, read as for validation."""
        train, val = (runner.cfg[f'{part}_dataloader'].dataset for part in ('train', 'val'))
        if not all(isinstance(part, dict) and 'pipeline' in part for part in (train, val)):
            return None
        dataset = DATASETS.build({**train, 'pipeline': val.pipeline})
        number = min(len(dataset), self.max_videos)
        chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()
        rank, world = get_dist_info()
        loader = runner.val_loop.dataloader
        return DataLoader(
            dataset,
            sampler=chosen[rank::world],
            batch_size=loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=pseudo_collate,
        )

    @torch.no_grad()
    def means(self, model: DeMUL, videos: DataLoader) -> tuple[Tensor, Tensor]:
        """What the cells of each level ``(L, S)`` and the queries ``(1, S)`` lose."""
        decoupler = model.decoupler
        cells, moments = (LevelSums(decoupler.video_means) for _ in range(2))
        queries = LevelSums(decoupler.query_means)
        with inputs_of(decoupler.centring) as seen:
            for batch in encode_batches(model, videos):
                shared, sentences = seen.pop(0), seen.pop(0)[:, 0]  # (V, M, S), (Q, S)
                seen_at_all = batch.videos.stream_mask.any(1)  # (V,)
                mask = batch.videos.mask & seen_at_all[:, None]
                device = mask.device
                levels = model.points(model.padded_clips(batch.videos), device).levels
                cells.add(shared[mask], levels.expand_as(mask)[mask])
                query, cell = best_cells(model, batch)
                known = seen_at_all[batch.owner[query]]
                query, cell = query[known], cell[known]
                moments.add(shared[batch.owner[query], cell], levels[cell])
                queries.add(sentences, levels.new_zeros(len(sentences)))
        for sums in (cells, moments, queries):
            sums.gather()
        off = moments.total - moments.number * cells.means
        off = off.sum(0) / moments.number.sum().clamp(min=1)
        return (
            torch.where(cells.number > 0, cells.means + off, decoupler.video_means),
            torch.where(queries.number > 0, queries.means, decoupler.query_means),
        )


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module is given while it lasts, first argument alone."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        handle.remove()
