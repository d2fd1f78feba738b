"""Loading trained models, and fingerprints of their encoders and inputs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import nn

from demul_mm.apis.published import FILES
from demul_mm.device import choose_device
from demul_mm.engine.checkpoint import check_fits, read_checkpoint
from demul_mm.models.localizers import DeMUL, MomentLocalizer
from demul_mm.registry import MODELS
from demul_mm.retrieval.encoding_cache import hash_of

# What determines the encodings of videos and queries, in the config and among the weights. The
# rest (fusion, head, suppression, calibration, losses) can change without a new index.
ENCODERS = ('language', 'frame_encoder', 'pyramid', 'decoupler', 'aligned', 'proposal')
ENCODER_KEYS = (*ENCODERS, 'data_preprocessor', 'streams', 'word_match')
ENCODER_WEIGHTS = (*ENCODERS, 'towers')


class LoadedModel(NamedTuple):
    """A model in eval mode, its whole config, and the fingerprint of its encoders."""

    model: DeMUL
    config: Config
    fingerprint: str


def load_localizer(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    device: str | torch.device | None = None,
) -> tuple[MomentLocalizer, Config]:
    """Build a model of any method and load its weights; no code in the checkpoint is run.

    Args:
        checkpoint: its weights; None: freshly initialised, for tests.
        device: where it runs; None: a GPU where there is one.

    Returns:
        The model in eval mode, and its whole config.

    Raises:
        FileNotFoundError, ValueError: no such file, or the checkpoint does not fit the config.
        TypeError: the config builds something else.
    """
    place = choose_device(device)
    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'there is no config file {config}')
        config = Config.fromfile(config)
    model = MODELS.build(config.model)
    if not isinstance(model, MomentLocalizer):
        raise TypeError(
            f'the config builds a {type(model).__name__}, which finds no moments by itself; give '
            'the config of a localizer'
        )
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        check_fits(model, checkpoint)
        weights = content.get('state_dict', content)
        plain = {name.removeprefix('module.'): value for name, value in weights.items()}
        model.load_state_dict(plain, strict=False)
    model.to(place).eval()
    return model, config


def load_model(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    device: str | torch.device | None = None,
) -> LoadedModel:
    """A :class:`DeMUL` by :func:`load_localizer`, with what identifies its encoders.

    Raises:
        FileNotFoundError, ValueError: see there.
        TypeError: the config builds another method.
    """
    model, config = load_localizer(config, checkpoint, device)
    if not isinstance(model, DeMUL):
        raise TypeError(
            f'the config builds a {type(model).__name__}; inferencers take a model of type DeMUL'
        )
    return LoadedModel(model, config, model_fingerprint(model, config.model))


def model_fingerprint(model: nn.Module, config: Any) -> str:
    """A hash of what determines a model's encodings of videos and queries.

    A file from which a training took weights is not of it: the weights are.
    """
    parts = without_files({key: config[key] for key in ENCODER_KEYS if config.get(key)})
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.split('.', 1)[0] in ENCODER_WEIGHTS:
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def recipe_fingerprint(dataset: Any, levels: Any = None) -> str:
    """A hash of how inputs are made: the pipeline and the kind of features, not where they lie.

    It does not change when videos are added to the features, nor when they are packed.

    Args:
        levels: scales of the pyramid that are indexed.
    """
    elsewhere = ('path', 'type', 'key', 'name')  # of a store: how it keeps the same numbers
    features = {
        stream: {key: value for key, value in store.items() if key not in elsewhere}
        for stream, store in (dataset.get('features') or {}).items()
    }
    pipeline = [
        {key: value for key, value in step.items() if key != 'store'}
        for step in dataset.get('pipeline', ())
    ]
    return hash_of(dict(features=features, pipeline=pipeline, levels=levels))[:16]


def without_files(node: Any) -> Any:
    """A config without the files that its parts would read, of which a training took weights."""
    if isinstance(node, Mapping):
        dropped = FILES if 'type' in node else ()
        return {k: None if k in dropped and v else without_files(v) for k, v in node.items()}
    return [without_files(v) for v in node] if isinstance(node, (list, tuple)) else node
