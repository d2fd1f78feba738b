"""The model, part by part, in the order in which the data passes through."""

from demul_mm.models import (
    averaged_model,
    backbones,
    data_preprocessors,
    heads,
    localizers,
    losses,
    necks,
    task_modules,
)

__all__ = [
    'averaged_model',
    'backbones',
    'data_preprocessors',
    'heads',
    'localizers',
    'losses',
    'necks',
    'task_modules',
]
