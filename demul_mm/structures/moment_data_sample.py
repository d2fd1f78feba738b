"""The data sample: one video with all (or, in training, some) of its queries."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from demul_mm.structures.encodings import PhraseMap
from demul_mm.structures.names import as_names


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

    @property
    def queries(self) -> list[str]:
        return self._queries

    @queries.setter
    def queries(self, value: Sequence[str]) -> None:
        self.set_field(as_names(value, 'queries'), '_queries', dtype=list)

    @queries.deleter
    def queries(self) -> None:
        del self._queries

    @property
    def gt_spans(self) -> list[Tensor]:
        return self._gt_spans

    @gt_spans.setter
    def gt_spans(self, value: Sequence[Tensor]) -> None:
        spans = [torch.as_tensor(v, dtype=torch.float32).reshape(-1, 2) for v in value]
        self.set_field(spans, '_gt_spans', dtype=list)

    @gt_spans.deleter
    def gt_spans(self) -> None:
        del self._gt_spans

    @property
    def hard_queries(self) -> list[str]:
        return self._hard_queries

    @hard_queries.setter
    def hard_queries(self, value: Sequence[str]) -> None:
        self.set_field(as_names(value, 'hard_queries'), '_hard_queries', dtype=list)

    @hard_queries.deleter
    def hard_queries(self) -> None:
        del self._hard_queries

    @property
    def pred_moments(self) -> list[InstanceData]:
        return self._pred_moments

    @pred_moments.setter
    def pred_moments(self, value: Sequence[InstanceData]) -> None:
        self.set_field(list(value), '_pred_moments', dtype=list)

    @pred_moments.deleter
    def pred_moments(self) -> None:
        del self._pred_moments

    @property
    def pred_phrases(self) -> list[PhraseMap]:
        return self._pred_phrases

    @pred_phrases.setter
    def pred_phrases(self, value: Sequence[PhraseMap]) -> None:
        self.set_field(list(value), '_pred_phrases', dtype=list)

    @pred_phrases.deleter
    def pred_phrases(self) -> None:
        del self._pred_phrases
