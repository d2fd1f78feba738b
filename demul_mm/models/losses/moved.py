"""Options of losses that earlier versions had elsewhere, and where the criterion has them."""

from collections.abc import Mapping
from typing import Any

MOVED = {
    'retrieval': 'weights.moment, .query and .video, and criterion.contrast',
    'decorrelation': 'weights.decorrelation',
    'confusion': 'weights.confusion',
    'phrase_weight': 'weights.phrases',
    'proposal.loss_span': 'weights.proposal',
    'head.assigner': 'assigner',
    'head.loss_semantic': 'semantic',
    'head.loss_span': 'span',
    'head.loss_joint': 'joint',
    'head.distillation': 'weights.distillation',
    'head.quality_weight': 'weights.quality',
    'head.boundary_weight': 'weights.boundary',
    'head.inside_weight': 'weights.inside',
    'head.stage_weight': 'weights.stages',
}


def refuse_moved(options: Mapping[str, Any]) -> None:
    """Say what took the place of a model's option that has moved.

    Raises:
        ValueError: there is one.
        TypeError: an option that no version had.
    """
    for name, value in options.items():
        for path in (f'{name}.{key}' for key in value) if name in ('head', 'proposal') else (name,):
            if path in MOVED:
                raise ValueError(f'model.{path} is now model.criterion.{MOVED[path]}')
        if name not in (*MOVED, 'head', 'proposal'):
            raise TypeError(f'DeMUL has no option {name!r}')


def without_moved(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model of an earlier version, to be asked only: without its losses."""
    kept = {name: value for name, value in model.items() if name not in MOVED}
    for part in ('head', 'proposal'):
        if kept.get(part):
            kept[part] = {k: v for k, v in kept[part].items() if f'{part}.{k}' not in MOVED}
    return kept
