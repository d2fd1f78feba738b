"""``--cfg-options``: each takes effect, or is refused with what to use instead.

A name at the top of a config that the Runner does not read (``num_clips``, ``data_root``) was
written into other settings when the file was read. An option on it is given to those settings.
"""

import copy
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from demul_mm import registry as registries
from demul_mm.cli.parser import Listed

PARTS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _names(function: Callable, *further: str) -> set[str]:
    return {*inspect.signature(function).parameters, *further}


# What stands at the top of a config and is read: by the Runner, by the tools.
READ = _names(Runner.__init__, 'custom_imports', 'runner_type', 'model_wrapper_cfg', 'compile')
READ |= {'find_unused_parameters', 'language_tuning', 'tta_model', 'tta_pipeline', 'tta_scales'}
# Of those, what is a text where the config has none.
TEXTS = {
    name
    for name, parameter in inspect.signature(Runner.__init__).parameters.items()
    if parameter.annotation in (str, str | None)
}
# What parts without a `type` can be given, in the config or not.
UNTYPED: dict[str, set[str]] = {
    **dict.fromkeys(PARTS, _names(DataLoader, 'num_batch_per_epoch')),
    'optim_wrapper': {'paramwise_cfg', 'constructor'},  # beside what its class takes
    'optim_wrapper.clip_grad': _names(torch.nn.utils.clip_grad_norm_, 'type', 'clip_value'),
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': _names(set_multi_processing),
    'env_cfg.dist_cfg': _names(torch.distributed.init_process_group, 'init_backend'),
    'randomness': _names(Runner.set_randomness),
    'auto_scale_lr': {'enable', 'base_batch_size'},
}


def apply_options(config: Config, options: Mapping[str, Any]) -> None:
    """Merge options into a config, in turn, so that one may build on those before it.

    Args:
        config: changed in place.
        options: dotted keys and their values. A name of the config file stands for all settings
            that have its value; ``features`` may be the path of a features config.

    Raises:
        ValueError: an option changes nothing; names the nearest keys that would.
    """
    for key, value in options.items():
        for setting, new in _expanded(config, key, value).items():
            parent = _check(config, setting, key)
            name = setting.rsplit('.', 1)[-1]
            if isinstance(new, Listed):
                known = None if parent is None else _child(parent, name)
                new = new.text if isinstance(known, str) or setting in TEXTS else list(new)
            if isinstance(parent, list):  # an item is replaced as a whole
                parent[int(name)] = new
            else:
                try:
                    config.merge_from_dict({setting: new})
                except TypeError as error:  # a part in place of a value, or the other way round
                    raise ValueError(f'--cfg-options: {key}: {error}') from error


def check_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """As :func:`apply_options`, and leave the config as it is."""
    apply_options(Config(copy.deepcopy(dict(config.items()))), options)


def _expanded(config: Config, key: str, value: Any) -> dict[str, Any]:
    """The settings that an option stands for, with their values."""
    name, *rest = key.split('.')
    if key == 'features' and isinstance(value, (str, Listed)):
        return _features(config, value if isinstance(value, str) else value.text)
    if name in READ or name not in config:
        return {key: value}
    places = _places_of(config, name)
    if not any(place.split('.')[0] in READ for place in places):
        near = [p for p, v in _paths(config) if v == config[name] and p.split('.')[0] in READ]
        near = near or [p for p, _ in _paths(config) if p != name and p.split('.')[-1] == name]
        raise ValueError(
            f"--cfg-options: '{name}' is read by the config file alone, changing it here would "
            f'change nothing (given: {key}). '
            + (f'Give {" or ".join(near[:6])}.' if near else 'Change it in the file.')
        )
    return {'.'.join([place, *rest]): value for place in places}


def _places_of(config: Config, name: str) -> list[str]:
    """The name itself, and where its value was written: a plain one to settings of that name."""
    value = config[name]
    whole = isinstance(value, (Mapping, list, tuple)) and len(value) > 0
    places = [
        path
        for path, other in _paths(config)
        if other == value and (whole or path.rsplit('.', 1)[-1] == name)
    ]
    alike = [place for place in places if '.' not in place and place != name]
    if whole and alike:
        raise ValueError(
            f"--cfg-options: '{name}' and '{alike[0]}' of the config have the same value, it is "
            f'not clear which settings are meant. Give {", ".join(p for p in places if "." in p)}'
        )
    return places


def _features(config: Config, path: str) -> dict[str, Any]:
    """What changes when all data sets read the features that another config names."""
    other = Config.fromfile(path)
    features = other.get('features')
    if not features:
        raise ValueError(f'--cfg-options: {path} names no features')
    options = {name: other[name] for name in other if name in config and name != 'features'}
    for part in (part for part in PARTS if config.get(part)):
        known = config[part].dataset.get('features') or {}
        for stream, store in features.items():
            if stream not in known:
                raise ValueError(
                    f"--cfg-options: {path} has features for the stream '{stream}', which "
                    f'{part}.dataset does not read; its streams: {", ".join(known) or "none"}'
                )
            options[f'{part}.dataset.features.{stream}'] = dict(store, _delete_=True)
    for stream, store in features.items():
        if 'model' in config:
            options[f'model.streams.{stream}.in_dim'] = store.dim
        if 'features' in config:
            options[f'features.{stream}'] = dict(store, _delete_=True)
    return options


def _check(config: Config, setting: str, given: str) -> Any:
    """Refuse a path that is neither in the config, nor an argument of what its part is for.

    Returns:
        The part that holds the setting, if there is one.
    """
    node: Any = config
    parent: Any = None
    done: list[str] = []
    for part in setting.split('.'):
        if part not in _keys(node):
            if _accepts(node, '.'.join(done), part):
                return None
            where = f"'{'.'.join(done)}' of the config" if done else 'the config'
            raise ValueError(
                f"--cfg-options: there is no '{part}' in {where} (given: {given}). "
                + _nearest(part, done, node, config)
            )
        parent, node = node, _child(node, part)
        done.append(part)
    return parent


def _accepts(node: Any, path: str, name: str) -> bool:
    """Whether a part can be given a setting that the config leaves at its default."""
    if not path:
        return name in READ
    if name in UNTYPED.get(path, ()):
        return True
    kind = node.get('type') if isinstance(node, Mapping) else None
    if not isinstance(kind, str):
        return False
    for found in vars(registries).values():
        built = found.get(kind) if isinstance(found, Registry) else None
        if built is not None:
            return _takes(built, name)
    return False


def _takes(built: Any, name: str) -> bool:
    """Whether a class has an argument, or hands ``**kwargs`` on to who has."""
    handed_on = False
    for one in inspect.getmro(built)[:-1] if inspect.isclass(built) else (built,):
        if inspect.isclass(one) and '__init__' not in vars(one):
            continue
        parameters = inspect.signature(one).parameters
        handed_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if name in parameters or not handed_on:
            return name in parameters
    return handed_on  # to no parent: whoever gets it refuses what it does not know


def _keys(node: Any) -> list[str]:
    if isinstance(node, Mapping) or hasattr(node, 'keys'):
        return [str(key) for key in node.keys()]  # noqa: SIM118  a Config iterates otherwise
    if isinstance(node, (list, tuple)):
        return [str(index) for index in range(len(node))]
    return []


def _child(node: Any, key: str) -> Any:
    return node[int(key)] if isinstance(node, (list, tuple)) else node[key]


def _nearest(part: str, done: list[str], node: Any, config: Any) -> str:
    """The same name elsewhere, the siblings that look like it, or all."""
    near = [path for path, _ in _paths(config) if path.rsplit('.', 1)[-1] == part][:3]
    siblings = difflib.get_close_matches(part, _keys(node), n=3)
    near = near or ['.'.join([*done, name]) for name in siblings]
    if near:
        return f'Did you mean {" or ".join(near)}?'
    return f'Allowed are: {", ".join(_keys(node)) or "none, it is a plain value"}.'


def _paths(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key in _keys(node):
        child = _child(node, key)
        yield prefix + key, child
        yield from _paths(child, f'{prefix}{key}.')
