"""The data sample: one video with all (or, in training, some) of its queries."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from demul_mm.structures.encodings import PhraseMap
from demul_mm.structures.names import as_names

Value = TypeVar('Value')


class Field(property, Generic[Value]):
    """A data field with a value for each query, brought into its form when it is set.

    Args:
        name: what the field is called.
        form: makes the list that is kept of what is given.
    """

    def __init__(self, name: str, form: Callable[[Any], list[Value]]) -> None:
        kept_as = f'_{name}'  # so mmengine finds a property's value
        super().__init__(
            lambda sample: getattr(sample, kept_as),
            lambda sample, value: sample.set_field(form(value), kept_as, dtype=list),
            lambda sample: delattr(sample, kept_as),
        )

    def __get__(  # type: ignore[override]  # of samples alone
        self, sample: Any, owner: type | None = None
    ) -> list[Value]:
        return super().__get__(sample, owner)


class MomentDataSample(BaseDataElement):
    """One video and ``Q`` queries about it.

    Meta information (``set_metainfo``):
        video_id (str): unique in its data set.
        duration (float): seconds.
        extent (float): seconds that the clip axis covers; the duration unless the features were
            sampled at a fixed rate and stop before or after it.
        sample_idx (int): position in the data set; metrics drop repeats by it.
        query_ids (list[str]): one for each query, unique in the data set.

    Data fields:
        queries (list[str]): ``Q`` sentences.
        gt_spans (list[Tensor]): for each query, ``(G, 2)`` true moments in seconds. Several rows
            are several annotators or several occurrences. ``G`` may be 0 where truth is unknown.
        hard_queries (list[str]): for each query a false variant of it, or '' where there is none;
            only in training, where the pipeline makes them (``RewordQueries``).
        pred_moments (list[InstanceData]): for each query, the predicted moments, best first:
            ``spans (M, 2)`` seconds, ``scores (M,)``, and of DeMUL ``joint (M,)``, the scores
            before calibration, and ``terms (M, 5)``, what each term gave to the candidate's own.
        pred_phrases (list[PhraseMap]): for each query, its words and how much each speaks for each
            clip of the video; only where the model was asked to explain itself
            (``test_cfg=dict(explain=True)``).
        pred_corpus (list[list]): for each query the moments found in the whole corpus, best first:
            ``[video_id, start, end, score]``.
        pred_videos (list[list[str]]): for each query the best videos of the corpus, best first.
    """

    queries = Field[str]('queries', lambda value: as_names(value, 'queries'))
    gt_spans = Field[Tensor]('gt_spans', lambda value: [_as_spans(spans) for spans in value])
    hard_queries = Field[str]('hard_queries', lambda value: as_names(value, 'hard_queries'))
    pred_moments = Field[InstanceData]('pred_moments', list)
    pred_phrases = Field[PhraseMap]('pred_phrases', list)


def _as_spans(spans: Tensor) -> Tensor:
    return torch.as_tensor(spans, dtype=torch.float32).reshape(-1, 2)
