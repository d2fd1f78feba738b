"""Bringing the rows of features to unit length."""

from collections.abc import Sequence

import numpy as np

from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS
from demul_mm.structures import as_names


@TRANSFORMS.register_module()
class NormalizeRows(Step):
    """Divide each row of features by its L2 norm; rows of zeros, where nothing is, stay.

    Modified keys: ``streams``. A stream that is None stays so.

    Args:
        streams: which streams.
    """

    def __init__(self, streams: Sequence[str] = ('visual',)) -> None:
        self.streams = tuple(as_names(streams, 'streams'))

    def transform(self, results: dict) -> dict:
        streams = dict(results['streams'])
        for name in self.streams:
            rows = streams[name]
            if rows is not None:
                norms = np.linalg.norm(rows, axis=1, keepdims=True)
                streams[name] = rows / np.where(norms > 0, norms, 1)
        return {**results, 'streams': streams}
