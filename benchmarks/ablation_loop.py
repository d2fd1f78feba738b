"""Training for a number of steps, and its processor time."""

import itertools
import math
import time

from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner


@LOOPS.register_module()
class TrainSteps(EpochBasedTrainLoop):
    """Train a number of steps: whole epochs, the last of which may end early."""

    def __init__(self, runner: Runner, dataloader: dict, steps: int) -> None:
        super().__init__(runner, dataloader, max_epochs=1)
        self._max_epochs = math.ceil(steps / len(self.dataloader))
        self._max_iters = steps

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        left = self._max_iters - self._iter
        for step, batch in enumerate(itertools.islice(self.dataloader, left)):
            self.run_iter(step, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class TrainingClock(Hook):
    """Measures the processor time of training, in seconds."""

    seconds = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        self._start = time.process_time()

    def after_train_epoch(self, runner: Runner) -> None:
        self.seconds += time.process_time() - self._start
