"""The base of DeMUL and of other methods."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.structures import MomentDataSample


class MomentLocalizer(BaseModel):
    """A model that finds moments, in the three modes of the Runner.

    Args:
        data_preprocessor: config of the data preprocessor.
        init_cfg: as in mmengine.
    """

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        preprocessor = data_preprocessor or dict(type='MomentDataPreprocessor')
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)

    @abstractmethod
    def loss(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of videos with their queries."""

    @abstractmethod
    def answer(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> list[InstanceData]:
        """The moments of each query in its own video, best first, in seconds."""

    @abstractmethod
    def raw(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> Any:
        """The output of the model for a batch, before moments are made of it."""

    def forward(
        self, inputs: dict, data_samples: list[MomentDataSample] | None = None, mode: str = 'tensor'
    ) -> Any:
        """Dispatch to ``loss``, ``predict`` or, for ``'tensor'``, ``raw``."""
        samples = data_samples or []
        if mode == 'loss':
            return self.loss(inputs, samples)
        if mode == 'predict':
            return self.predict(inputs, samples)
        if mode == 'tensor':
            return self.raw(inputs, samples)
        raise ValueError(f"mode is {mode!r}; allowed: 'loss', 'predict', 'tensor'")

    @torch.no_grad()
    def predict(self, inputs: dict, data_samples: list[MomentDataSample]) -> list[MomentDataSample]:
        """Fill ``pred_moments`` of each data sample."""
        moments = iter(() if inputs['ids'] is None else self.answer(inputs, data_samples))
        for sample in data_samples:
            sample.pred_moments = list(islice(moments, len(sample.queries)))
        return data_samples


def with_defaults(part: str, given: dict | None, **defaults: Any) -> dict[str, Any]:
    """The defaults with what is given in their place; an option without a default is refused."""
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise ValueError(f'{part} has no option {unknown[0]!r}; allowed: {", ".join(defaults)}')
    return {**defaults, **(given or {})}
