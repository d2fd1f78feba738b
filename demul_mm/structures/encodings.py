"""What the encoders hand on: typed tuples of tensors, one row for each video, query or pair."""

from typing import NamedTuple

from torch import Tensor

from demul_mm.structures.spans import mean_over


class VideoEncoding(NamedTuple):
    """``V`` videos, encoded without any query.

    ``M`` are the cells of all pyramid levels, finest level first, and ``N`` the streams.
    """

    points: Tensor  # (V, N, M, D) features of the cells in each stream
    private: Tensor  # (V, N, M, P) what only this modality says
    shared: Tensor  # (V, M, S) unit vectors in the space shared with queries: the index's moments
    spans: Tensor  # (V, M, 2) query-free proposal of each cell, in [0, 1]
    mask: Tensor  # (V, M) True where a cell holds at least one clip
    stream_mask: Tensor  # (V, N) True where the video has the stream
    num_clips: Tensor  # (V,) int64
    said: Tensor  # (V, T, W / 8) words of each clip as bits (uint8); W is 0 without WordMatch

    def select(self, index: Tensor) -> 'VideoEncoding':
        """The rows ``index`` (int64), with repeats allowed."""
        return VideoEncoding(*(field[index] for field in self))

    def for_fusion(self, index: Tensor) -> 'VideoEncoding':
        """The rows ``index`` of all that fusion reads.

        ``shared``, ``private`` and ``said`` are left empty: a video is copied for each of its
        queries, and these are more than half of it.
        """
        unread = {name: getattr(self, name)[..., :0] for name in ('shared', 'private', 'said')}
        return self._replace(**unread).select(index)


class QueryEncoding(NamedTuple):
    """``Q`` sentences as a hierarchy of ``L`` words, ``K`` phrases and the whole."""

    words: Tensor  # (Q, L, D)
    word_mask: Tensor  # (Q, L)
    phrases: Tensor  # (Q, K, D)
    sentence: Tensor  # (Q, D)
    private: Tensor  # (Q, P)
    shared: Tensor  # (Q, S) unit vectors: the index's queries
    phrase_attention: Tensor  # (Q, K, L) which words make up which phrase
    meaning: Tensor  # (Q, E) unit mean of the language model's own features: caption similarity
    asked: Tensor  # (Q, L) int64 which words these are to WordMatch, -1 for none; L is 0 without it

    def select(self, index: Tensor) -> 'QueryEncoding':
        """The rows ``index`` (int64), with repeats allowed."""
        return QueryEncoding(*(field[index] for field in self))


class FusedPairs(NamedTuple):
    """``R`` (query, video) pairs after fusion, with the ``K`` cells that survived."""

    survivors: Tensor  # (R, K, D)
    mask: Tensor  # (R, K)
    cell: Tensor  # (R, K) int64, which cell each of them is
    clips: Tensor  # (R, T, D) the finest cells after the first stage
    dense_logit: Tensor  # (R, M) semantic logit of every cell after the first stage
    stage_logits: Tensor  # (R, stages, K) semantic logit after each stage


class MomentCandidates(NamedTuple):
    """The ``K`` candidates of each of ``R`` pairs. Spans are in [0, 1] of the clip axis."""

    spans: Tensor  # (R, K, 2)
    scores: Tensor  # (R, K) joint score, a logit
    terms: Tensor  # (R, K, 5) weighted terms of the joint score; they sum to it
    mask: Tensor  # (R, K)
    alone: Tensor  # (R,) what the boundary term gains without the other videos of a pair's query


class PhraseMap(NamedTuple):
    """How much each of the ``K`` words of a query contributes to each of a video's ``T`` clips."""

    texts: list[str]  # K
    clips: Tensor  # (K, T) how far a clip's semantic logit falls without the word

    def within(self, spans: Tensor) -> Tensor:
        """Mean over the clips of each of ``M`` spans.

        Args:
            spans: ``(M, 2)`` as shares of the time that the clips cover.

        Returns:
            ``(K, M)``.
        """
        borders = (spans.to(self.clips.dtype) * self.clips.shape[1]).T  # (2, M) in clips
        start, end = borders[:, None].expand(-1, len(self.clips), -1)
        return mean_over(self.clips, start, end)
