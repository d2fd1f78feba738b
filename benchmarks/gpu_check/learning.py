"""Training: it learns, never waits for the GPU, and is repeatable."""

import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lab import METHODS, Lab
from mmengine.hooks import Hook
from mmengine.runner import Runner
from sections import Rows, Skipped, apart, bound, section

from demul_mm.precision import choose_precision


@section
def training(lab: Lab, rows: Rows) -> None:
    """Both methods learn, in the chosen precision and in float16 with a loss scale."""
    for method in METHODS:
        batches = [lab.batch(lab.sizes.batch, method, k) for k in range(6)]
        for precision in ('auto', 'float16') if lab.on_gpu else ('auto',):
            model = lab.model(method)
            optim = lab.optim(model, precision)
            history = [
                model.train_step(batches[k % 6], optim)['loss'].detach()
                for k in range(lab.sizes.steps)
            ]
            values = torch.stack(history).tolist()
            few = max(1, len(values) // 6)
            first, last = float(np.mean(values[:few])), float(np.mean(values[-few:]))
            chosen = str(choose_precision(precision, lab.device)).removeprefix('torch.')
            rows[f'{method}, {precision}: {chosen}'] = {'first loss': first, 'last loss': last}
            assert np.isfinite(values).all(), f'{method} in {precision}: the loss is not finite'
            assert last < first, f'{method} in {precision}: {first:.3f} became {last:.3f}'


class Watch(Hook):
    """Notes when each step of a run begins and ends."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.times: list[float] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        self.times.append(time.perf_counter())

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        self.times.append(time.perf_counter())


@section
def runner(lab: Lab, rows: Rows) -> None:
    """A run as tools/train.py makes it, with workers, averaged weights, validation, checkpoints."""
    epochs = 3 if lab.on_gpu else 1
    run = Runner.from_cfg(lab.config('default recipe', epochs=epochs))
    watch = Watch()
    run.register_hook(watch)
    seconds = lab.seconds(run.train, warm=0)
    steps, between = np.diff(watch.times)[::2], np.diff(watch.times)[1::2]
    metrics = run.message_hub.log_scalars
    rows['run'] = {
        'steps': len(steps),
        'seconds': seconds,
        'ms a step': 1e3 * float(np.median(steps)),
        'ms to the next': 1e3 * float(np.median(between)),
        'R@1,IoU=0.5': float(metrics['val/R@1,IoU=0.5'].current()),
    }
    assert len(metrics['train/loss'].data[0]) == len(steps), 'losses are missing in the log'


@section
def waiting(lab: Lab, rows: Rows) -> None:
    """No training step waits for the GPU, once its sentences are known."""
    if not lab.on_gpu:
        raise Skipped('needs a GPU; tests/models/localizers/test_no_sync.py stands in for it')
    for method in METHODS:
        model, batch = lab.model(method), lab.batch(lab.sizes.batch, method)
        optim = lab.optim(model, 'auto')
        step = partial(model.train_step, batch, optim)
        lab.seconds(step, warm=2)
        places = sync_places(step)
        rows[method] = {'waits': sum(places.values()), 'where': ', '.join(places) or 'nowhere'}
        torch.cuda.set_sync_debug_mode('error')
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode('default')


def sync_places(step: Callable[[], object]) -> dict[str, int]:
    """The lines where a step waits for the GPU, and how often."""
    places: dict[str, int] = {}

    def note(message: object, *args: object, **kwargs: object) -> None:
        # Not torch's own note, on the first call, that this mode is a prototype.
        if 'called a synchronizing' in str(message):
            ours = [f for f in traceback.extract_stack() if '/demul_mm/' in f.filename]
            place = f'{Path(ours[-1].filename).name}:{ours[-1].lineno}' if ours else 'elsewhere'
            places[place] = places.get(place, 0) + 1

    with warnings.catch_warnings():
        warnings.simplefilter('always')
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode('warn')
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return places


@section
def deterministic(lab: Lab, rows: Rows) -> None:
    """With ``--deterministic``, two runs of the same seed are equal to the last bit."""
    torch.use_deterministic_algorithms(True)
    try:
        for method in METHODS:
            batch, ends = lab.batch(lab.sizes.batch, method), []
            for _ in range(2):
                model = lab.model(method)
                optim = lab.optim(model, 'auto')
                for _ in range(2):
                    model.train_step(batch, optim)
                ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
            bound(rows, method, apart(*ends), 0)
    finally:
        torch.use_deterministic_algorithms(False)
