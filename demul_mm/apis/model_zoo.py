"""The models of this project: its configs, as OpenMMLab's ``model-index.yml`` lists them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from demul_mm.files import read_text

PACKAGE = Path(__file__).resolve().parents[1]
INDEX = 'model-index.yml'


def root() -> Path:
    """Where ``configs`` and ``tools`` are: in an installed package, or else in the clone."""
    installed = PACKAGE / '.mim'
    return installed if installed.is_dir() else PACKAGE.parent


def models() -> Iterator[dict[str, Any]]:
    """What the metafiles say of each model."""
    for file in yaml.safe_load(read_text(root() / INDEX))['Import']:
        yield from yaml.safe_load(read_text(root() / file))['Models']


def list_models(pattern: str = '') -> list[str]:
    """The names of the models, which are those of their configs, in order.

    Args:
        pattern: regular expression that is searched in the names.
    """
    return sorted(model['Name'] for model in models() if re.search(pattern, model['Name']))
