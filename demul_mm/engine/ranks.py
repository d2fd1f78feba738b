"""Gathering results from all ranks."""

from collections.abc import Mapping
from typing import TypeVar

from mmengine.dist import all_gather_object

Key = TypeVar('Key', int, str, tuple[int, int])
Value = TypeVar('Value')

# Rows that ranks exchange at once.
BLOCK = 256


def of_all_ranks(own: Mapping[Key, Value]) -> dict[Key, Value]:
    """The rows of all ranks by their keys, in the order of the keys whatever the ranks.

    A key that several have, since samplers pad the last batch of some ranks with videos of others,
    is there once, with the row of the first. All ranks must call this together.

    Args:
        own: the rows of this rank, by the query or the place in the data set they are about.
    """
    keys = list(own)
    most = max(all_gather_object(len(keys)))
    everything: dict[Key, Value] = {}
    for start in range(0, most, BLOCK):
        for part in all_gather_object({key: own[key] for key in keys[start : start + BLOCK]}):
            for key, value in part.items():
                everything.setdefault(key, value)
    return {key: everything[key] for key in sorted(everything)}
