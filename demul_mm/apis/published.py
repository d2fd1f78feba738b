"""Models in folders, as tools/model/publish_model.py writes them: read without running them.

A config in Python is a program, and one in another form can name any function of any package as a
``type``. So of a folder ``config.json`` alone is read, and each type in it must be a class that is
registered here; ``config.py`` beside it is for people, weights are safetensors.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry

from demul_mm.files import read_text
from demul_mm.hub import fetch
from demul_mm.registry import MODELS, SCOPE, TASK_UTILS, TRANSFORMS

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG, SCRIPT, CARD = 'config.json', 'config.py', 'README.md'
WEIGHTS, EXTRACTOR = 'model.safetensors', 'extractor.safetensors'
FORMAT = 'demul_mm.model'
# The packages whose classes a config may name, and where these may be from.
SCOPES = (SCOPE, 'mmaction', 'mmengine')
PLACES: tuple[str, ...] = ('demul_mm.', 'mmaction.models.backbones.', 'mmengine.model.')
PLACES += ('mmcv.cnn.', 'mmcv.transforms.', 'torch.nn.')
# What would read a file that the config names.
FILES = ('init_cfg', 'pretrained', 'load_from', 'checkpoint')
# Parts that are a model of their own of Hugging Face, known by its name.
NAMED = ('TransformersLM', 'TransformersTokenizer', 'TransformersImageEncoder')


class Published(NamedTuple):
    """A model folder: its config, and the file of its weights."""

    config: Config
    weights: Path


class Pretrained:
    """Mixin for classes whose first arguments are a config and weights: ``from_pretrained``."""

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, offline: bool = False, **options: Any
    ) -> 'Self':
        """The model of a folder that ``tools/model/publish_model.py`` wrote, or on huggingface.co.

        Nothing in it is run; see :func:`read_published`.

        Args:
            name: folder, or name on huggingface.co.
            revision: branch, tag or commit on huggingface.co; None: its main branch.
            offline: never download; otherwise what is downloaded is logged first.
            options: arguments of the class, but ``model`` and ``weights``.
        """
        make: Callable[..., Self] = cls
        return make(*read_published(name, revision, offline), **options)


def is_published(name: str | Path) -> bool:
    """Whether a folder is one of a model of ours."""
    file = Path(name, CONFIG)
    if not file.is_file():
        return False
    try:
        return json.loads(read_text(file)).get('format') == FORMAT
    except (ValueError, AttributeError):
        return False


def read_published(
    name: str | Path, revision: str | None = None, offline: bool = False
) -> Published:
    """A model folder, or one on huggingface.co; nothing in it is run.

    Args:
        name: folder, or name on huggingface.co.
        revision: branch, tag or commit on huggingface.co; None: its main branch.
        offline: never download; otherwise what is downloaded is logged first.

    Raises:
        FileNotFoundError: there is no such folder or model, or it lacks a file.
        ValueError: it is no model of ours, or its config names what it may not.
    """
    folder = Path(fetch(str(name), offline, revision))
    if not is_published(folder):
        raise ValueError(
            f'{name} is no model folder: it has no {CONFIG} of format {FORMAT}; '
            'tools/model/publish_model.py writes one'
        )
    content = json.loads(read_text(folder / CONFIG))
    config = Config({key: value for key, value in content.items() if key != 'format'})
    check_parts(content, str(name))
    for word in sorted(named(content) - {'minilm'}):
        fetch(word, offline)  # says so before it is downloaded
    for file in (WEIGHTS, *([EXTRACTOR] if config.get('extractor') else [])):
        if not (folder / file).is_file():
            raise FileNotFoundError(f'{name} lacks {file}; publish or download it again')
    if config.get('extractor'):
        config.extractor.checkpoint = str(folder / EXTRACTOR)
    return Published(config, folder / WEIGHTS)


def parts(node: Any) -> Iterator[Mapping[str, Any]]:
    """What has a type, in a config and all its parts."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from parts(value)


def named(config: Mapping[str, Any]) -> set[str]:
    """Names of the models of Hugging Face that a config has as parts."""
    found = (p for p in parts(config) if p['type'].removeprefix(f'{SCOPE}.') in NAMED)
    return {part.get('name', 'minilm') for part in found}


def check_parts(config: Mapping[str, Any], name: str) -> None:
    """Refuse a config that could run or read anything but classes that are registered here.

    Raises:
        ValueError: naming what is refused.
    """
    for part in parts(config):
        kind = part['type']
        if '_scope_' in part or not isinstance(kind, str) or not _is_registered(kind):
            raise ValueError(
                f'{name}: its config asks for {kind!r}, which is no part of a model that is '
                f'registered by {", ".join(SCOPES)}: refused'
            )
        for key in FILES:
            if part.get(key):
                raise ValueError(
                    f'{name}: its config has {key}={part[key]!r} in {kind}, which would read a '
                    'file: refused'
                )


def _is_registered(kind: str) -> bool:
    """Whether a type is a class in a registry; the registry itself would import any function."""
    scope, key = Registry.split_scope_key(kind)
    if scope not in (None, *SCOPES):
        return False
    import_module(f'{scope or SCOPE}.registry')
    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        root = registry.parent
        assert root is not None
        places = [registry, root] if scope is None else [root, *root.children.values()]
        for place in places:
            if scope in (None, place.scope):
                place.import_from_location()
                found = place.module_dict.get(key)
                if found is not None:
                    return f'{found.__module__}.'.startswith(PLACES)
    return False
