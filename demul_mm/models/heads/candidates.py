"""Input and output tuples of the localization head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.structures import FusedPairs, mean_over

# Half the window of a candidate that is not regressed, in strides: what the assigner fits best.
WINDOW = 2.0


class Candidates(NamedTuple):
    """The ``K`` candidates of ``R`` pairs, before they are rated."""

    x: Tensor  # (R, K, D)
    centers: Tensor  # (R, K) clips
    strides: Tensor  # (R, K) clips
    stage_logits: Tensor  # (R, stages, K)
    similarity: Tensor  # (R, K)
    mask: Tensor  # (R, K)
    anchors: Tensor  # (R, K - C, 2) clips; the first C are cells


class HeadOutput(NamedTuple):
    """The head's output for ``R`` pairs; spans and distances in clips."""

    semantic: Tensor  # (R, K) logit: is the candidate what the query asks for
    similarity: Tensor  # (R, K) cosine of query and candidate's cell in the shared space
    dense_logit: Tensor  # (R, M) the same for every cell, after the first stage
    stage_logits: Tensor  # (R, stages, K) the same after each fusion stage
    quality: Tensor  # (R, K) logit: how well do its borders fit
    spans: Tensor  # (R, K, 2) clips
    cell: Tensor  # (R, C) the cells of the first C candidates
    anchors: Tensor  # (R, K - C, 2) clips: where the others began
    start: Tensor  # (R, T) logit of each clip holding the start
    end: Tensor  # (R, T)
    inside: Tensor  # (R, T) logit of each clip belonging to the moment
    video: Tensor  # (R,) similarity of query and video in the shared space
    mask: Tensor  # (R, K)
    clip_mask: Tensor  # (R, T)
    cell_mask: Tensor  # (R, M)
    num_clips: Tensor  # (R,)
    query: Tensor  # (R,) int64, which query the pair belongs to


def of_points(fused: FusedPairs, similarity: Tensor, points: PyramidPoints) -> Candidates:
    """The points of the pyramid that survived fusion; ``similarity (R, M)`` of all cells."""
    return Candidates(
        x=fused.survivors,
        centers=points.centers[fused.cell],
        strides=points.strides[fused.cell],
        stage_logits=fused.stage_logits,
        similarity=similarity.gather(1, fused.cell),
        mask=fused.mask,
        anchors=similarity.new_zeros(len(similarity), 0, 2),
    )


def with_spans(
    candidates: Candidates,
    further: Sequence[tuple[Tensor, Tensor, Tensor]],
    similarity: Tensor,
    logit: Tensor,
) -> Candidates:
    """Append spans, which are as similar and as likely as their clips on average.

    Args:
        candidates: those of ``R`` pairs.
        further: features ``(R, P, D)``, spans ``(R, P, 2)`` in clips and mask ``(R, P)`` of each
            kind (see :mod:`demul_mm.models.heads.span_candidates`).
        similarity: ``(R, T)`` of the clips, zeros where invalid.
        logit: ``(R, T)`` semantic logit of the clips after the first stage, zeros where invalid.
    """
    stages = candidates.stage_logits.shape[1]
    for x, spans, mask in further:
        low, high = spans.unbind(-1)
        more = Candidates(
            x=x,
            centers=(low + high) / 2,
            strides=(high - low) / (2 * WINDOW),
            stage_logits=mean_over(logit, low, high)[:, None].expand(-1, stages, -1),
            similarity=mean_over(similarity, low, high),
            mask=mask,
            anchors=spans,
        )
        candidates = Candidates(
            *(
                torch.cat([a, b.to(a.dtype)], 2 if name == 'stage_logits' else 1)
                for name, a, b in zip(Candidates._fields, candidates, more)
            )
        )
    return candidates
