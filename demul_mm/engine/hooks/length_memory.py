"""Fill the memory of lengths with the training queries, and fit how much it weighs."""

from collections.abc import Iterable

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from demul_mm.engine.hooks.held_out import QueryKey, own_candidates
from demul_mm.engine.hooks.video_weight import best_weight
from demul_mm.engine.models import models_of, unwrapped
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.evaluation.floors import annotation_entries
from demul_mm.models.localizers import DeMUL
from demul_mm.models.task_modules import LengthMemory
from demul_mm.registry import HOOKS
from demul_mm.retrieval import encode_queries
from demul_mm.structures import span_iou

SENTENCES = 256  # encoded at once


@HOOKS.register_module()
class LengthMemoryHook(Hook):
    """Before each validation, fill the model's ``LengthMemory`` and fit its weight.

    It is filled with the training split, evenly over all of it where that is more than it holds.
    The weight is the one that makes candidates which hit likeliest among all candidates of the
    validation split's own videos, which must be held-out train videos. Nothing is done for a model
    without such a memory, nor while testing.

    Args:
        iou_thr: the IoU at which a candidate hits.
        max_queries: so many queries of the validation split, its first, are enough; processes share
            them.
    """

    # After the EMA hook has put the averaged weights in place.
    priority = 'BELOW_NORMAL'

    def __init__(self, iou_thr: float = 0.7, max_queries: int = 1000) -> None:
        self.iou_thr = iou_thr
        self.max_queries = max_queries

    def before_val_epoch(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if getattr(model, 'length_memory', None) is None or runner.train_loop is None:
            return
        model.eval()
        self.learn(runner, model)
        memories = [memory_of(each) for each in models_of(runner)]
        number = int(memories[0].count)
        # All ranks fit one number, each having looked at its own share of the videos.
        rows = self.rows(model, runner.val_loop.dataloader) if number else {}
        weight = best_weight(list(of_all_ranks(rows).values()), low=0.01, high=10.0)
        if weight is None:
            return
        for memory in memories:
            memory.weight.fill_(weight)
        runner.logger.info(f'the length of {number:,} training moments weighs {weight:.2f}')

    def learn(self, runner: Runner, model: DeMUL) -> None:
        """Fill the memories of the run with the training split, as ``model`` reads it."""
        if getattr(model, 'length_memory', None) is None:
            return
        captions, seconds = self.known(model, runner.train_loop.dataloader.dataset)
        for each in models_of(runner):
            memory_of(each).fill(captions, seconds)

    def known(self, model: DeMUL, dataset: Iterable) -> tuple[Tensor, Tensor]:
        """The sentences ``(N, E)`` of a data set, and how many seconds their moments last."""
        rows = [
            (entry['query'], end - start)
            for entry in annotation_entries(dataset)
            for start, end in entry['gt']
            if end > start
        ]
        memory = memory_of(model)
        number = min(len(rows), memory.size)
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, number).round().astype(int)]
        parts = [
            encode_queries(model, [sentence for sentence, _ in rows[i : i + SENTENCES]]).meaning
            for i in range(0, len(rows), SENTENCES)
        ]
        captions = torch.cat(parts) if parts else memory.captions[:0]
        return captions, memory.lengths.new_tensor([seconds for _, seconds in rows])

    def rows(self, model: DeMUL, loader: Iterable) -> dict[QueryKey, tuple[Tensor, Tensor, Tensor]]:
        """For each query of ``loader`` score, log-likelihood of length and hit of all candidates.

        The score is the one without the memory.
        """
        memory = memory_of(model)
        found: dict[QueryKey, tuple[Tensor, Tensor, Tensor]] = {}
        for own in own_candidates(model, loader, self.max_queries):
            seconds, mask = own.seconds, own.found.mask
            length = (seconds[..., 1] - seconds[..., 0]).clamp(min=0)
            likelihood = memory.log_likelihood(own.meaning, length)
            for i, spans in enumerate(own.truths):
                if not len(spans):
                    continue
                iou = span_iou(seconds[i, mask[i]].cpu()[:, None], spans[None]).amax(1)
                score = own.found.scores[i, mask[i]].cpu().double()
                length_score = likelihood[i, mask[i]].cpu().double()
                found[own.keys[i]] = (score, length_score, iou >= self.iou_thr)
        return found


def memory_of(model: DeMUL) -> LengthMemory:
    """That of a model which has one."""
    assert model.length_memory is not None
    return model.length_memory
