"""The training criterion of DeMUL: all losses, with one table of weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.losses.curves import boundary_loss, inside_loss, masked_mean
from demul_mm.models.losses.representation import (
    CrossCorrelationLoss,
    ModalityConfusionLoss,
    phrase_overlap,
)
from demul_mm.models.losses.retrieval import RetrievalLoss
from demul_mm.models.losses.targets import Targets, same_moment, touching
from demul_mm.models.task_modules.assigner import assign_by_iou
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.models.task_modules.semantic_memory import SemanticMemory
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import QueryEncoding, VideoEncoding, pairwise_iou, span_iou

if TYPE_CHECKING:
    from demul_mm.models.heads.candidates import HeadOutput

# What each term weighs unless a config says otherwise. First what needs no fusion.
WEIGHTS = dict(
    moment=0.5,  # contrast of a query with all cells of the batch
    query=0.5,  # of its moment with all queries
    video=0.5,  # of queries with videos, both ways
    proposal=0.5,  # the spans that a video proposes by itself
    phrases=0.1,  # phrases are kept apart
    decorrelation=0.0,  # shared and private parts are unrelated
    confusion=0.0,  # the shared part does not tell its modality
    semantic=1.0,  # is a candidate what the query asks for
    span=1.0,  # where its borders are
    quality=1.0,  # how well they fit
    stages=0.25,  # is it, after each stage of fusion before the last
    boundary=0.1,  # curves of start and end
    inside=0.5,  # curve of the clips that belong to the moment
    joint=1.0,  # the joint score over all videos of a query
    distillation=0.0,  # the shared space learns the joint score
)


class TrainingBatch(NamedTuple):
    """``V`` encoded videos with their ``Q`` queries, before any fusion."""

    videos: VideoEncoding
    queries: QueryEncoding
    owner: Tensor  # (Q,) the video of each query
    points: PyramidPoints
    similarity: Tensor  # (Q, V, M) cosines in the shared space
    video_similarity: Tensor  # (Q, V) of query and video
    false: Tensor | None  # (H, S) shared vectors of queries that are true of no moment


@MODELS.register_module()
class MomentCriterion(nn.Module):
    """The losses of a batch: in the shared space, and of the pairs that were fused.

    Args:
        dim: width ``S`` of the shared part that is learned.
        weights: terms of ``WEIGHTS`` that weigh something else here.
        assigner: config of what assigns cells to moments.
        contrast: config of the contrast in the shared space.
        semantic: config of the classification loss.
        span: config of the regression loss.
        joint: config of the loss over all candidates of a query.
        distillation: config of the loss that teaches the shared space the joint score.
    """

    def __init__(
        self,
        dim: int = 128,
        weights: Mapping[str, float] | None = None,
        assigner: dict | None = None,
        contrast: dict | None = None,
        semantic: dict | None = None,
        span: dict | None = None,
        joint: dict | None = None,
        distillation: dict | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted(set(weights or {}) - set(WEIGHTS))
        if unknown:
            raise ValueError(f'weights has {unknown[0]!r}; allowed: {", ".join(WEIGHTS)}')
        self.dim = dim
        self.weights = {**WEIGHTS, **(weights or {})}
        self.assigner = TASK_UTILS.build(assigner or dict(type='ScaleAssigner'))
        self.retrieval = RetrievalLoss(contrast)
        self.decorrelation = CrossCorrelationLoss()
        self.confusion = ModalityConfusionLoss(dim) if self.weights['confusion'] else None
        self.semantic = MODELS.build(semantic or dict(type='QualityFocalLoss'))
        self.span = MODELS.build(span or dict(type='SpanDIoULoss'))
        self.joint = MODELS.build(joint or dict(type='ListwiseLoss'))
        self.distillation = MODELS.build(distillation or dict(type='FusionDistillation'))

    @property
    def contrasts(self) -> bool:
        """Whether anything is learned from contrast in the shared space."""
        return any(self.weights[name] for name in ('moment', 'query', 'video'))

    def targets(
        self, points: PyramidPoints, cell_mask: Tensor, spans: Tensor, mask: Tensor
    ) -> Targets:
        """What is true of ``R`` pairs.

        Args:
            points: geometry of the ``M`` cells.
            cell_mask: ``(R, M)`` valid cells.
            spans: ``(R, G, 2)`` true moments in clips.
            mask: ``(R, G)``; a pair without truth is a negative.
        """
        return Targets(spans, mask, *self.assigner(points, cell_mask, spans, mask))

    def forward(
        self,
        batch: TrainingBatch,
        targets: Targets,
        out: 'HeadOutput',
        scores: Tensor,
        memory: SemanticMemory | None = None,
    ) -> dict[str, Tensor]:
        """All losses, weighted, in float32.

        Args:
            batch: before fusion.
            targets: what its ``Q`` queries ask for, each with its own video.
            out: what the head says of these pairs and, behind them, of those with rival videos.
            scores: ``(R, K)`` joint scores of its candidates.
            memory: vectors of earlier batches; this one is added.
        """
        terms = self.shared_terms(batch, targets, memory)
        with_rivals = targets.with_rivals(len(scores) - len(batch.owner))
        terms |= self.pair_terms(out, scores, with_rivals)
        return {f'loss_{name}': self.weights[name] * term for name, term in terms.items()}

    def shared_terms(
        self, batch: TrainingBatch, targets: Targets, memory: SemanticMemory | None
    ) -> dict[str, Tensor]:
        """What needs no fusion: retrieval, proposals, decoupling."""
        videos, queries, owner = batch.videos, batch.queries, batch.owner
        positive = targets.positive
        clips = videos.num_clips[owner][:, None, None]
        number = positive.sum().clamp(min=1)
        proposed, own = videos.spans[owner], targets.own / clips
        terms = dict(
            proposal=self.span(proposed, own, positive.float(), number),
            phrases=phrase_overlap(queries.phrase_attention),
        )
        mine = F.one_hot(owner, len(videos.mask))  # (Q, V)
        weight = positive / positive.sum(1, keepdim=True).clamp(min=1)
        # One product with the cells of all videos: a copy of the own video's costs far more.
        of_all = weight[:, None] * mine[..., None]  # (Q, V, M)
        moment = torch.einsum('qvm,vms->qs', of_all, videos.shared)  # (Q, S)
        unit = F.normalize(moment, dim=-1)
        shown = positive.any(1)  # (Q,) False where no clip shows a moment of the query
        if self.contrasts:
            touches = touching(batch.points, targets.spans, targets.mask)
            terms |= self.retrieval(
                cells=batch.similarity,
                videos=batch.video_similarity,
                owner=owner,
                positive=positive,
                counted=videos.mask[owner] & (positive | ~touches),
                cell_mask=videos.mask,
                meaning=queries.meaning,
                query=queries.shared,
                moment=unit,
                same=same_moment(targets.spans, targets.mask, owner) & shown[:, None],
                false=batch.false,
                memory=memory,
            )
        learned = queries.shared[:, : self.dim]
        if self.weights['decorrelation']:
            mask = videos.mask[:, None] & videos.stream_mask[..., None]  # (V, N, M)
            shared = videos.shared[:, None, :, : self.dim].expand(-1, mask.shape[1], -1, -1)
            terms['decorrelation'] = self.decorrelation(
                shared.flatten(0, 2), videos.private.flatten(0, 2).float(), mask.flatten()
            ) + self.decorrelation(learned, queries.private.float())
        if self.confusion is not None:
            terms['confusion'] = self.confusion(moment[:, : self.dim], learned)
        if memory is not None and self.training:
            memory.push(queries.meaning, unit.detach(), shown)
        return terms

    def pair_terms(self, out: 'HeadOutput', scores: Tensor, targets: Targets) -> dict[str, Tensor]:
        """What is learned from the ``R`` pairs that were fused.

        Args:
            out: what the head returned.
            scores: ``(R, K)`` joint scores of its candidates.
            targets: truth of the same pairs.
        """
        clips = out.num_clips[:, None, None].to(targets.spans.dtype)
        positive = targets.positive.gather(1, out.cell)
        own = targets.own.gather(1, out.cell[..., None].expand(-1, -1, 2))
        if out.anchors.shape[1]:
            more, more_own = assign_by_iou(out.anchors, targets.spans, targets.mask)
            positive, own = torch.cat([positive, more], 1), torch.cat([own, more_own], 1)
        positive = positive & out.mask
        found = out.spans.detach()
        iou = pairwise_iou(found, targets.spans).masked_fill(~targets.mask[:, None], 0.0)
        iou = iou.amax(-1) if iou.shape[-1] else torch.zeros_like(scores)
        iou = iou * out.mask
        # A mean over the candidates of a batch, so that padding does not weigh.
        number = positive.sum().clamp(min=1)
        wanted = torch.where(positive, span_iou(found, own), 0.0)
        fit = F.binary_cross_entropy_with_logits(out.quality, iou, reduction='none')
        curves = (out.clip_mask, out.query, targets.spans, targets.mask)
        terms = dict(
            semantic=self.semantic(out.semantic, wanted, out.mask, number),
            span=self.span(out.spans / clips, own / clips, positive.float(), number),
            quality=masked_mean(fit, targets.mask.any(1)[:, None] & out.mask),
            stages=self._stages(out, wanted, number),
            boundary=boundary_loss(out.start, out.end, *curves),
            inside=inside_loss(out.inside, out.clip_mask, targets.spans, targets.mask),
            joint=self.joint(scores, iou, out.mask, out.query),
        )
        if self.weights['distillation']:
            terms['distillation'] = self.distillation(out.similarity, scores, out.mask, out.query)
        return terms

    def _stages(self, out: 'HeadOutput', wanted: Tensor, number: Tensor) -> Tensor:
        """All stages but the last, which the head corrects; the first one rates all cells."""
        of_cells = wanted[:, : out.cell.shape[1]]
        dense = torch.zeros_like(out.dense_logit).scatter(1, out.cell, of_cells)
        loss = self.semantic(out.dense_logit, dense, out.cell_mask, number)
        for stage in out.stage_logits[:, 1:-1].unbind(1):
            loss = loss + self.semantic(stage, wanted, out.mask, number)
        return loss
