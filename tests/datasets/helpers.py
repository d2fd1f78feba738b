"""Small annotation files and the place of the published ones."""

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'annotations'


def published(*parts: str) -> str:
    """Path of a published annotation file; skips the test where it is not at hand."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'needs the published annotations in {SHARED}')
    return str(path)


def video(video_id: str = 'a', duration: float = 20.0, **changes) -> dict:
    """One line of the JSONL form."""
    queries = [
        {'query': 'a dog runs', 'spans': [[1.0, 5.0]]},
        {'query': 'a cat sleeps', 'spans': [[4.0, 20.0]]},
    ]
    return {'video_id': video_id, 'duration': duration, 'queries': queries, **changes}


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return str(path)
