"""What early exit of progressive fusion saves, and what it costs."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from demul_mm.analysis.encoding import entries_of, localize_own
from demul_mm.engine.encoding import EncodedBatch, encode_batches
from demul_mm.evaluation.metrics.moment_recall import per_query
from demul_mm.evaluation.predictions import PredictionEntry, pad_entries
from demul_mm.models.localizers import DeMUL

# None: no pair ever leaves early. 0: every pair leaves after the first stage.
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, None)


class ExitPoint(NamedTuple):
    """What one threshold gives."""

    threshold: float | None  # None: never
    stages: float  # run for a pair, in the mean
    time: float  # of fusion and head for a query, as a share of that without early exit
    seconds: float  # of fusion and head for a query
    recall: dict[str, float]  # R@1,IoU=m and mIoU in percent


@contextmanager
def counted_stages(neck: nn.Module) -> Iterator[list[int]]:
    """While it lasts, counts the pairs that each fusion stage has worked on."""
    stages = list(neck.stages)  # type: ignore[arg-type]
    counts = [0] * len(stages)

    def hook_of(place: int):
        def hook(module: nn.Module, args: tuple, out: object) -> None:
            counts[place] += len(args[0])

        return hook

    handles = [stage.register_forward_hook(hook_of(i)) for i, stage in enumerate(stages)]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def exit_curve(
    model: DeMUL,
    batches: Iterable[dict],
    thresholds: Sequence[float | None] = THRESHOLDS,
    repeats: int = 3,
) -> list[ExitPoint]:
    """Accuracy and cost of each threshold of early exit.

    All thresholds see a batch in turn, ``repeats`` times, each time in another order, and the
    fastest time of each counts: what else the machine does meanwhile touches all alike.

    Args:
        model: in eval mode, with a fusion neck of two or more stages.
        batches: all that the split's data loader gives.
        thresholds: probabilities from which a pair skips the following stages; ``None`` for never,
            which is added if it is not there.
        repeats: timed passes of each batch.
    """
    neck = model.neck
    if neck is None or len(neck.stages) < 2:
        raise ValueError(
            'early exit takes a fusion neck of two stages or more; this model has none'
        )
    limits = list(dict.fromkeys([*thresholds, None]))
    entries: dict[float | None, list[PredictionEntry]] = {limit: [] for limit in limits}
    stages, seconds = dict.fromkeys(limits, 0), dict.fromkeys(limits, 0.0)
    before = neck.early_exit
    try:
        for batch in encode_batches(model, batches):
            for limit, (count, answers) in _answers(model, batch, limits).items():
                stages[limit] += count
                entries[limit] += answers
            for limit, fastest in _times(model, batch, limits, repeats).items():
                seconds[limit] += fastest
    finally:
        neck.early_exit = before
    if not entries[None]:
        raise ValueError('the split has no query: take one with annotations')
    number = len(entries[None])
    return [
        ExitPoint(
            threshold=limit,
            stages=stages[limit] / number,
            time=seconds[limit] / seconds[None],
            seconds=seconds[limit] / number,
            recall=_recall(entries[limit]),
        )
        for limit in limits
    ]


def _answers(
    model: DeMUL, batch: EncodedBatch, limits: Sequence[float | None]
) -> dict[float | None, tuple[int, list[PredictionEntry]]]:
    """Stages run and moments found with each threshold."""
    neck = model.neck
    assert neck is not None
    found = {}
    for limit in limits:
        neck.early_exit = limit
        with counted_stages(neck) as counts:
            moments = localize_own(model, batch)
        found[limit] = (sum(counts), entries_of(batch, moments))
    return found


def _times(
    model: DeMUL, batch: EncodedBatch, limits: Sequence[float | None], repeats: int
) -> dict[float | None, float]:
    """The fastest seconds of fusion and head with each threshold."""
    device, neck = batch.owner.device, model.neck
    assert neck is not None
    fastest = dict.fromkeys(limits, float('inf'))
    for turn in range(repeats):
        for limit in [*limits[turn % len(limits) :], *limits[: turn % len(limits)]]:
            neck.early_exit = limit
            start = time.perf_counter()
            localize_own(model, batch)
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            fastest[limit] = min(fastest[limit], time.perf_counter() - start)
    return fastest


def _recall(entries: Sequence[PredictionEntry]) -> dict[str, float]:
    known = [entry for entry in entries if entry['gt']]
    if not known:
        return {}
    values = per_query(pad_entries(known), topk=(1,), ious=(0.5, 0.7))
    return {key: 100 * float(value.mean()) for key, value in values.items()}
