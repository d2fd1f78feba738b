"""What a training logged."""

import json
from pathlib import Path
from typing import Any


def read_scalars(run: Path) -> list[dict[str, Any]]:
    """All rows of a run's ``*/vis_data/scalars.json`` (mmengine's local backend), in order.

    A line that was being written when the run was killed does not count.
    """
    return [
        json.loads(line)
        for path in sorted(run.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith('\n')
    ]
