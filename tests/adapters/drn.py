"""Whether the installed mmaction2 has its DRN."""

import importlib.util
from pathlib import Path

import pytest


def has_drn() -> bool:
    spec = importlib.util.find_spec('mmaction')
    places = (spec and spec.submodule_search_locations) or []
    return any((Path(place) / 'models/localizers/drn').is_dir() for place in places)


WITHOUT = 'this mmaction2 lacks its DRN: pip install "demul-mm[drn]"'
needs_drn = pytest.mark.skipif(not has_drn(), reason=WITHOUT)
