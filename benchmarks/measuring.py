"""Time, memory and commit of what a benchmark measures; imports nothing of demul_mm."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def peak_mb() -> float:
    """The most resident memory that this process has taken so far, in MB of 2**20 bytes."""
    status = Path('/proc/self/status')
    if status.exists():  # ru_maxrss of Linux begins with what the starting process had
        (line,) = (row for row in status.read_text().splitlines() if row.startswith('VmHWM:'))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def timed(action: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, seconds of processor time, and what the action returned."""
    start, cpu = time.perf_counter(), time.process_time()
    value = action()
    return time.perf_counter() - start, time.process_time() - cpu, value


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """``p50`` and ``p95`` in milliseconds."""
    import numpy as np

    return {f'p{p}': 1000 * float(np.percentile(seconds, p)) for p in (50, 95)}


def commit() -> str:
    """The short hash of the code, with a mark if files other than docs differ from it."""
    git = ['git', '-C', str(ROOT)]
    status = [*git, 'status', '--porcelain', '--untracked-files=no', ':!docs']
    try:
        found, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            for command in ([*git, 'rev-parse', '--short', 'HEAD'], status)
        )
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return f'{found} with changes' if changed else found
