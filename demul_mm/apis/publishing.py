"""Publishing a model: writing its folder."""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import nn

from demul_mm.apis.extractor import FeatureExtractor
from demul_mm.apis.loading import LoadedModel, load_model, without_files
from demul_mm.apis.published import (
    CARD,
    CONFIG,
    EXTRACTOR,
    FORMAT,
    SCRIPT,
    WEIGHTS,
    check_parts,
    named,
    read_published,
)
from demul_mm.datasets.base import kind_of
from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.files import replacing, write_atomically
from demul_mm.structures.spans import SECONDS, is_length
from demul_mm.version import __version__

CARD_TEXT = """---
library_name: demul_mm
{licence}tags:
- moment-retrieval
- temporal-grounding
- video
---

# {name}

A DeMUL: it finds the moments of videos that sentences describe. The weights and `{config}` are
data, and nothing of this folder runs when it is used; `{script}` is the whole config, for people.

```shell
demul index ~/Videos --model {name}
demul search "a dog jumps into a lake"
```

```python
from demul_mm.apis import MomentInferencer

find = MomentInferencer.from_pretrained('{name}')
find(videos='clip.mp4', queries='a dog jumps into a lake')
```

## What it takes

{needs}

## Where it comes from

{origin}

| file | bytes | sha256 |
| --- | --- | --- |
{files}
"""


def publish(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    extractor: str | Path | None = None,
    name: str | None = None,
    licence: str | None = None,
    longest: float | None = None,
) -> Path:
    """Write a model folder, which :func:`~demul_mm.apis.published.read_published` reads.

    The weights are those that are tested: the averaged ones of a run that averages. Neither the
    optimizer nor anything else of the checkpoint is kept.

    Args:
        extractor: the backbone that made its features, with which it reads video files; None: that
            of the config, if it names one.
        name: what it is called; None: as the folder.
        licence: that of the weights, as huggingface.co abbreviates it; None: not stated.
        longest: seconds of the videos that it was trained for; longer ones are searched in parts of
            that length by ``demul``. None: the config's ``longest_seconds``.

    Raises:
        FileNotFoundError, ValueError: no such file, or the checkpoint does not fit, or the config
            needs more than a folder can hold.
    """
    folder = Path(folder)
    loaded = load_model(config, checkpoint, 'cpu')
    whole = copy.deepcopy(loaded.config)
    if longest is not None:
        whole.longest_seconds = longest
    else:
        longest = whole.get('longest_seconds') or None
    if longest is not None and not is_length(longest):
        raise ValueError(
            f'longest is {longest}; give seconds from {SECONDS[0]:g} to {SECONDS[1]:g}'
        )
    given = extractor or (whole.get('extractor') or {}).get('checkpoint')
    options = {
        k: v for k, v in (whole.get('extractor') or {}).items() if k in ('backbone', 'clips')
    }
    maker = FeatureExtractor(given, **options, device='cpu') if given else None
    content = as_data(whole, maker)
    check_parts(content, str(config))
    folder.mkdir(parents=True, exist_ok=True)
    _save(loaded.model, folder / WEIGHTS)
    whole.work_dir = None
    whole.pop('extractor', None)
    if maker is not None:
        _save(maker.model, folder / EXTRACTOR)
        place = '{{ fileDirname }}/' + EXTRACTOR
        whole.extractor = dict(checkpoint=place, backbone=maker.backbone, clips=maker.clips)
    write_atomically(folder / SCRIPT, whole.pretty_text)
    write_atomically(folder / CONFIG, json.dumps(content, indent=1))
    reloaded = load_model(*read_published(folder, offline=True), 'cpu')  # as users will
    card = CARD_TEXT.format(
        name=name or folder.resolve().name,
        licence=f'license: {licence}\n' if licence else '',
        config=CONFIG,
        script=SCRIPT,
        needs='\n'.join(f'- {line}' for line in needs(content)),
        origin='\n'.join(f'- {line}' for line in _origin(config, checkpoint, reloaded)),
        files='\n'.join(_file(folder / f) for f in (WEIGHTS, EXTRACTOR) if (folder / f).exists()),
    )
    write_atomically(folder / CARD, card)
    return folder


def as_data(config: Config, extractor: FeatureExtractor | None) -> dict[str, Any]:
    """What of a config is needed to ask the model, as JSON values."""
    dataset = config.test_dataloader.dataset
    stores = {**(dataset.get('features') or {})}
    stores.update({s.get('stream', 'visual'): s.store for s in dataset.pipeline if s.get('store')})
    features = {
        stream: {key: store[key] for key in ('dim', 'clip_seconds') if store.get(key) is not None}
        for stream, store in stores.items()
    }
    pipeline = [{k: v for k, v in s.items() if k != 'store'} for s in dataset.pipeline]
    content: dict[str, Any] = dict(
        format=FORMAT,
        default_scope=config.get('default_scope', 'demul_mm'),
        model=config.model,
        test_dataloader=dict(dataset=dict(pipeline=pipeline, features=features)),
    )
    if config.get('longest_seconds'):
        content['longest_seconds'] = config.longest_seconds
    if extractor is not None:
        content['extractor'] = dict(backbone=extractor.backbone, clips=extractor.clips)
    try:
        content = json.loads(json.dumps(content, default=dict))
    except (TypeError, ValueError) as error:
        raise ValueError(f'the config holds what is no plain value ({error})') from error
    return without_files(content)


def needs(content: Mapping[str, Any]) -> list[str]:
    """What the model must be given, a line each.

    Args:
        content: what :func:`as_data` returned.
    """
    lines = []
    dataset = content['test_dataloader']['dataset']
    steps = {kind_of(part): part for part in dataset['pipeline']}
    if 'LoadVideoClips' in steps:
        clips = {k: v for k, v in steps['LoadVideoClips'].items() if k != 'type'}
        lines.append(f'video files, of which it sees clips: {_words(clips)}')
    for stream, tower in content['model']['streams'].items():
        if 'LoadVideoFeature' in steps:
            store = dataset['features'].get(stream, {})
            seconds = store.get('clip_seconds')
            rows = f', a row for {seconds:g} s' if seconds else ''
            lines.append(f'features `{stream}` of {tower["in_dim"]} values{rows}')
    if 'extractor' in content:
        extractor = content['extractor']
        lines.append(
            f'or video files, whose features `{EXTRACTOR}` makes: {extractor["backbone"]["type"]}, '
            f'{_words(extractor["clips"])}'
        )
    elif 'LoadVideoClips' not in steps:
        lines.append('not video files: the backbone of the features is not here')
    if 'longest_seconds' in content:
        lines.append(
            f'of a video longer than {content["longest_seconds"]:g} s parts of that length'
        )
    if 'ResampleClips' in steps:
        lines.append(f'a video is brought to {steps["ResampleClips"].get("num_clips")} clips')
    lines += [
        'sentences; their encoder '
        + ('comes with demul_mm (all-MiniLM-L6-v2)' if word == 'minilm' else f'is `{word}`')
        for word in sorted(named(content))
    ]
    return lines


def _origin(config: str | Path, checkpoint: str | Path, reloaded: LoadedModel) -> list[str]:
    meta = read_checkpoint(checkpoint).get('meta') or {}
    steps = [f'{key} {meta[key]}' for key in ('epoch', 'iter') if isinstance(meta.get(key), int)]
    trained = (meta.get('dataset_meta') or {}).get('dataset_name')
    return [
        f'config `{Path(config).name}`, checkpoint `{Path(checkpoint).name}`'
        + (f' ({", ".join(steps)})' if steps else ''),
        *([f'trained on `{trained}`'] if trained else []),
        f'{sum(p.numel() for p in reloaded.model.parameters()):,} weights; fingerprint of the '
        f'encoders {reloaded.fingerprint}',
        f'written by demul_mm {__version__}',
    ]


def _save(model: nn.Module, file: Path) -> None:
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    plain: dict[str, torch.Tensor] = {name: value.contiguous() for name, value in state.items()}
    with replacing(file) as temporary:
        save_file(plain, temporary, dict(format='pt'))


def _file(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f'| {path.name} | {path.stat().st_size:,} | {digest} |'


def _words(values: Mapping[str, Any]) -> str:
    return ', '.join(f'{key} {value}' for key, value in values.items() if value is not None)
