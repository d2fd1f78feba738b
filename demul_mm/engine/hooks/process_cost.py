"""Processor time and memory of each iteration, whatever else the machine does."""

import sys
import time
from pathlib import Path
from typing import Any

from mmengine.hooks import IterTimerHook
from mmengine.runner import Runner

from demul_mm.registry import HOOKS


@HOOKS.register_module()
class ProcessCostHook(IterTimerHook):
    """mmengine's ``IterTimerHook``, and two values more, of this process with all its threads.

    ``processor_time``: seconds; ``peak_mb``: resident memory so far, with all libraries. What other
    processes do for an iteration is not in them: load with ``num_workers=0``.
    """

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        super()._before_epoch(runner, mode)
        self._used = time.process_time()

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        used = time.process_time()
        runner.message_hub.update_scalar(f'{mode}/processor_time', used - self._used)
        runner.message_hub.update_scalar(f'{mode}/peak_mb', peak_memory())
        self._used = used


def peak_memory() -> float:
    """The most resident memory that this process has taken, in MB."""
    status = Path('/proc/self/status')
    if status.exists():  # ru_maxrss of Linux begins with what the starting process had
        (line,) = (row for row in status.read_text().splitlines() if row.startswith('VmHWM:'))
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
