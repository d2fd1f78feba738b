"""What a training logged."""

import json
from pathlib import Path
from typing import Any


def read_scalars(run: Path) -> list[dict[str, Any]]:
    """All rows of a run's ``*/vis_data/scalars.json`` (mmengine's local backend), in order."""
    return [
        json.loads(line)
        for path in sorted(run.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
