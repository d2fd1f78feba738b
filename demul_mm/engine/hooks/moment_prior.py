"""Fill the prior of moments with the training split, and fit how likely it is needed."""

from collections.abc import Iterable, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from scipy.optimize import minimize_scalar
from torch import Tensor

from demul_mm.engine.hooks.held_out import QueryKey, own_candidates
from demul_mm.engine.models import models_of, unwrapped
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.evaluation.floors import annotation_entries
from demul_mm.models.localizers import DeMUL
from demul_mm.models.task_modules import MomentPrior
from demul_mm.registry import HOOKS
from demul_mm.structures import pairwise_iou

# However little the model finds, its own candidates count.
HIGHEST = 0.9


@HOOKS.register_module()
class MomentPriorHook(Hook):
    """Before each validation, fill the model's ``MomentPrior`` and fit its weight.

    Its places are those of the training split's moments. The weight is the one that makes moments
    of the validation split likeliest in their own videos, which must be held-out train videos. It
    comes behind :class:`LengthMemoryHook`, since the scores that it reads have the lengths in them.
    Nothing is done for a model without a prior, nor while testing.

    Args:
        iou_thr: the IoU at which a moment is the true one.
        max_queries: so many queries of the validation split, its first, are enough; processes share
            them.
    """

    # After the EMA hook has put the averaged weights in place.
    priority = 'BELOW_NORMAL'

    def __init__(self, iou_thr: float = 0.5, max_queries: int = 1000) -> None:
        self.iou_thr = iou_thr
        self.max_queries = max_queries

    def before_val_epoch(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if getattr(model, 'prior', None) is None or runner.train_loop is None:
            return
        model.eval()
        self.learn(runner, model)
        priors = [prior_of(each) for each in models_of(runner)]
        known = bool(priors[0].share.any())
        rows = self.rows(model, runner.val_loop.dataloader) if known else {}
        # All ranks fit one number, each having looked at its own share of the videos.
        weight = best_share(list(of_all_ranks(rows).values()))
        if weight is None:
            return
        for prior in priors:
            prior.weight.fill_(weight)
        places = int(priors[0].share.count_nonzero())
        runner.logger.info(f'with probability {weight:.3f} a moment is at one of {places} places')

    def learn(self, runner: Runner, model: DeMUL) -> None:
        """Fill the priors of the run with the moments of the training split."""
        if getattr(model, 'prior', None) is None:
            return
        spans = [
            (start / entry['duration'], end / entry['duration'])
            for entry in annotation_entries(runner.train_loop.dataloader.dataset)
            for start, end in entry['gt']
        ]
        moments = torch.tensor(spans).reshape(-1, 2).clamp(0, 1)
        moments = moments[moments[:, 1] > moments[:, 0]]
        for each in models_of(runner) if len(moments) else ():
            prior_of(each).fill(moments)

    def rows(self, model: DeMUL, loader: Iterable) -> dict[QueryKey, tuple[float, float]]:
        """How likely the truth of each query is by the model alone, and by the places alone."""
        prior = prior_of(model)
        found: dict[QueryKey, tuple[float, float]] = {}
        for own in own_candidates(model, loader, self.max_queries):
            scores = model.rate(own.found, own.meaning, own.extents)
            share = scores.masked_fill(~own.found.mask, -torch.inf).softmax(1)
            for i, truth in enumerate(own.truths):
                if not len(truth):
                    continue
                places = prior.spans * own.durations[i]
                shares = [
                    float(likely.cpu()[self._hits(spans.cpu(), truth)].sum())
                    for spans, likely in ((own.seconds[i], share[i]), (places, prior.share))
                ]
                found[own.keys[i]] = (shares[0], shares[1])
        return found

    def _hits(self, spans: Tensor, truth: Tensor) -> Tensor:
        return pairwise_iou(spans, truth.to(spans)).amax(1) >= self.iou_thr


def prior_of(model: DeMUL) -> MomentPrior:
    """That of a model which has one."""
    assert model.prior is not None
    return model.prior


def best_share(rows: Sequence[tuple[float, float]]) -> float | None:
    """The weight ``w`` that makes all queries' ``(1 - w) first + w second`` likeliest.

    Returns:
        the weight, in [0, :data:`HIGHEST`], or None without a query whose truth either can be.
    """
    shares = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
    shares = shares[shares.sum(1) > 0]
    if not len(shares):
        return None

    def surprise(weight: float) -> float:
        # Where the model says 0, a weight of 0 is infinitely surprised.
        return float(-torch.lerp(shares[:, 0], shares[:, 1], weight).clamp(min=1e-12).log().mean())

    return float(minimize_scalar(surprise, bounds=(0.0, HIGHEST), method='bounded').x)
