"""Whether the installed mmaction2 has its DRN."""

import importlib.util
from pathlib import Path

import pytest


def has_drn() -> bool:
    spec = importlib.util.find_spec('mmaction')
    return spec is not None and (Path(spec.origin).parent / 'models/localizers/drn').is_dir()


WITHOUT = 'this mmaction2 lacks its DRN: pip install "demul-mm[drn]"'
needs_drn = pytest.mark.skipif(not has_drn(), reason=WITHOUT)
