"""The unified localization head: multi-scale candidates, rated by one joint score."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.heads.candidates import WINDOW, HeadOutput, of_points, with_spans
from demul_mm.models.heads.proposal import decode_distances
from demul_mm.models.layers import Dropout
from demul_mm.models.losses import segment_logsumexp
from demul_mm.models.task_modules.assigner import assign_by_iou
from demul_mm.models.task_modules.curves import coherence, sample_curve, smooth
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import FusedPairs, MomentCandidates, pairwise_iou, span_iou


@MODELS.register_module()
class UnifiedMomentHead(nn.Module):
    """Score and place a candidate at each cell that survived fusion.

    Semantics start from the dual encoder's similarity; the head adds a correction that is zero
    before training, so the untrained head ranks as the index does.

    Args:
        dim: width ``D`` of the fused points.
        candidates: configs of further candidates beside the points, as ``SparseMapCandidates``.
        regress: whether borders are regressed; else a candidate is a fixed window around its point
            (or its span as it was proposed), and the head only classifies.
        profile: config of what a candidate sees of the curves around it; None for nothing.
        num_curves: further curves without a meaning of their own, for the profile.
        joint: config of the joint score.
        assigner: config of the assigner.
        loss_semantic: config of the classification loss.
        loss_span: config of the regression loss.
        loss_joint: config of the loss over all candidates of a query.
        distillation: config of the loss that teaches the shared space the joint score; None for
            none.
        quality_weight: weight of the quality loss.
        boundary_weight: weight of the start and end curves' loss.
        inside_weight: weight of the inside curve's loss.
        stage_weight: weight of the supervision of each fusion stage.
        smoothing: share of its own value that a clip of the inside curve keeps; 1 for none.
        dropout: of the hidden layer.
    """

    def __init__(
        self,
        dim: int = 128,
        candidates: Sequence[dict] = (),
        regress: bool = True,
        profile: dict | None = None,
        num_curves: int = 4,
        joint: dict | None = None,
        assigner: dict | None = None,
        loss_semantic: dict | None = None,
        loss_span: dict | None = None,
        loss_joint: dict | None = None,
        distillation: dict | None = None,
        quality_weight: float = 1.0,
        boundary_weight: float = 0.1,
        inside_weight: float = 0.5,
        stage_weight: float = 0.25,
        smoothing: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.candidates = nn.ModuleList(MODELS.build(config) for config in candidates)
        self.regress = regress
        channels = 4 + (num_curves if profile else 0)
        self.profile = MODELS.build({'channels': channels, **profile}) if profile else None
        self.hidden = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), Dropout(dropout))
        self.rate = nn.Linear(dim, 2)  # semantic correction, quality
        self.place = nn.Linear(dim, 2) if regress else None  # distances to start and end
        self.curves = nn.Linear(dim, channels - 1)  # start, end, inside, and for the profile
        nn.init.zeros_(self.rate.weight)
        nn.init.zeros_(self.rate.bias)
        if self.place is not None:
            nn.init.constant_(self.place.bias, WINDOW)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))
        self.joint = MODELS.build(joint or dict(type='JointScore'))
        self.assigner = TASK_UTILS.build(assigner or dict(type='ScaleAssigner'))
        self.loss_semantic = MODELS.build(loss_semantic or dict(type='QualityFocalLoss'))
        self.loss_span = MODELS.build(loss_span or dict(type='SpanDIoULoss'))
        self.loss_joint = MODELS.build(loss_joint or dict(type='ListwiseLoss'))
        self.distillation = MODELS.build(distillation) if distillation else None
        self.quality_weight = quality_weight
        self.boundary_weight = boundary_weight
        self.inside_weight = inside_weight
        self.stage_weight = stage_weight
        self.smoothing = smoothing

    def base_logit(self, similarity: Tensor) -> Tensor:
        """The dual encoder's semantic logit, from cosines ``(R, M)``."""
        return self.scale * similarity + self.bias

    def forward(
        self,
        fused: FusedPairs,
        similarity: Tensor,
        cell_mask: Tensor,
        points: PyramidPoints,
        num_clips: Tensor,
        query: Tensor,
    ) -> HeadOutput:
        """Rate the candidates of ``R`` pairs.

        Args:
            fused: the neck's output.
            similarity: ``(R, M)`` cosine of query and moment in the shared space.
            cell_mask: ``(R, M)`` valid cells.
            points: geometry of the ``M`` cells.
            num_clips: ``(R,)``.
            query: ``(R,)`` int64: pairs with one number belong to one query.
        """
        curves = self.curves(fused.clips)  # (R, T, C - 1)
        start, end, inside = curves[..., :3].float().unbind(-1)
        clip_mask = cell_mask[:, : start.shape[1]]
        found = with_spans(
            of_points(fused, similarity, points),
            [further(fused.clips, start, end, clip_mask) for further in self.candidates],
            similarity[:, : start.shape[1]] * clip_mask,
            fused.dense_logit[:, : start.shape[1]].float() * clip_mask,
        )
        x = self.norm(found.x)
        if self.profile is not None:
            relevance = fused.dense_logit[:, : start.shape[1], None].to(curves.dtype)
            shape = torch.cat([curves, relevance], -1).tanh()
            x = x + self.profile(shape, clip_mask, found.centers, found.strides).to(x.dtype)
        rate, place = self.hidden(x).chunk(2, -1)  # (R, K, D) each
        correction, quality = self.rate(rate).float().unbind(-1)
        if self.place is not None:
            distance = F.softplus(self.place(place).float())  # (R, K, 2) in strides
        else:
            distance = found.centers.new_full((*found.centers.shape, 2), WINDOW)
        stages = found.stage_logits.float()
        return HeadOutput(
            semantic=stages[:, -1] + correction,
            similarity=found.similarity,
            dense_logit=fused.dense_logit.float(),
            stage_logits=stages,
            quality=quality,
            spans=decode_distances(distance, found.centers, found.strides, num_clips),
            cell=fused.cell,
            anchors=found.anchors,
            start=start,
            end=end,
            inside=inside,
            video=self.video_similarity(similarity, cell_mask),
            mask=found.mask,
            clip_mask=clip_mask,
            cell_mask=cell_mask,
            num_clips=num_clips,
            query=query,
        )

    @staticmethod
    def video_similarity(similarity: Tensor, mask: Tensor, temperature: float = 0.05) -> Tensor:
        """Soft maximum over a video's moments of ``similarity (..., M)``: ``(...)``."""
        scaled = (similarity.float() / temperature).masked_fill(~mask, -1e4)
        return temperature * (scaled.logsumexp(-1) - mask.sum(-1).clamp(min=1).log())

    def score(self, out: HeadOutput, spans: Tensor) -> tuple[Tensor, Tensor]:
        """The joint score of ``spans (R, M, 2)`` and its terms ``(R, M, 5)``.

        Start and end curves are normalised over all the videos of a query together.
        """
        clip_mask = out.clip_mask
        border = []
        # The clip inside the moment holds its border, as in training.
        positions = spans[..., 0] + 0.5, spans[..., 1] - 0.5
        for curve, position in zip((out.start, out.end), positions):
            logits = curve.masked_fill(~clip_mask, -1e4)
            log_prob = logits - segment_logsumexp(logits, out.query)[:, None]
            # Padding must not be blended in at the last clip.
            last = (out.num_clips[:, None] - 0.5).to(position.dtype)
            border.append(sample_curve(log_prob, torch.minimum(position, last)))
        inside = out.inside.sigmoid() * clip_mask
        if self.smoothing < 1:
            inside = smooth(inside, clip_mask, self.smoothing)
        terms = torch.stack(
            [
                F.logsigmoid(out.semantic),
                F.logsigmoid(out.quality),
                (border[0] + border[1]) / 2,
                coherence(inside, spans[..., 0], spans[..., 1], out.num_clips),
                out.video[:, None].expand_as(out.semantic),
            ],
            -1,
        )
        return self.joint(terms)

    def predict_by_feat(self, out: HeadOutput) -> MomentCandidates:
        """All candidates with spans in [0, 1]."""
        scores, terms = self.score(out, out.spans)
        scale = out.num_clips[:, None, None].to(out.spans.dtype).clamp(min=1)
        return MomentCandidates(out.spans / scale, scores, terms, out.mask)

    def loss_by_feat(
        self, out: HeadOutput, spans: Tensor, span_mask: Tensor, points: PyramidPoints
    ) -> dict[str, Tensor]:
        """Losses of ``R`` pairs.

        Args:
            out: of ``forward``.
            spans: ``(R, G, 2)`` true moments in [0, 1].
            span_mask: ``(R, G)``; a pair without truth is a negative.
            points: geometry of the ``M`` cells.
        """
        clips = out.num_clips[:, None, None].to(spans.dtype)
        truth = spans * clips
        cell_positive, cell_own = self.assigner(points, out.cell_mask, truth, span_mask)
        positive = cell_positive.gather(1, out.cell)
        own = cell_own.gather(1, out.cell[..., None].expand(-1, -1, 2))
        if self.candidates:
            more, more_own = assign_by_iou(out.anchors, truth, span_mask)
            positive, own = torch.cat([positive, more], 1), torch.cat([own, more_own], 1)
        positive = positive & out.mask
        found = out.spans.detach()
        iou = pairwise_iou(found, truth).masked_fill(~span_mask[:, None], 0.0)
        iou = iou.amax(-1) if iou.shape[-1] else out.semantic.new_zeros(out.semantic.shape)
        iou = iou * out.mask
        matched = span_mask.any(1)[:, None] & out.mask
        # A mean over the candidates of a batch, so that padding does not weigh.
        number = positive.sum().clamp(min=1)
        target = torch.where(positive, span_iou(found, own), 0.0)
        losses = dict(
            loss_semantic=self.loss_semantic(out.semantic, target, out.mask, number),
            loss_span=self.loss_span(out.spans / clips, own / clips, positive.float(), number),
            loss_quality=self.quality_weight
            * _masked_mean(
                F.binary_cross_entropy_with_logits(out.quality, iou, reduction='none'), matched
            ),
        )
        of_cells = target[:, : out.cell.shape[1]]
        dense_target = torch.zeros_like(out.dense_logit).scatter(1, out.cell, of_cells)
        stages = [(out.dense_logit, dense_target, out.cell_mask)]
        stages += [(stage, target, out.mask) for stage in out.stage_logits[:, 1:-1].unbind(1)]
        losses['loss_stages'] = self.stage_weight * sum(
            self.loss_semantic(logit, wanted, mask, number) for logit, wanted, mask in stages
        )
        losses.update(self._curve_losses(out, truth, span_mask))
        scores, _ = self.score(out, found)
        losses['loss_joint'] = self.loss_joint(scores, iou, out.mask, out.query)
        if self.distillation is not None:
            losses['loss_distillation'] = self.distillation(
                out.similarity, scores, out.mask, out.query
            )
        return losses

    def _curve_losses(self, out: HeadOutput, truth: Tensor, span_mask: Tensor) -> dict[str, Tensor]:
        """Start, end and inside curves; ``truth (R, G, 2)`` in clips."""
        clip_mask = out.clip_mask
        clip = torch.arange(clip_mask.shape[1], device=truth.device) + 0.5
        losses = {'loss_boundary': out.start.new_zeros(())}
        if truth.shape[1]:
            width = (0.05 * (truth[..., 1] - truth[..., 0])).clamp(min=0.5)[..., None]
            for curve, side in ((out.start, 0), (out.end, 1)):
                # Borders lie between clips; the clip inside the moment holds them.
                at = (truth[..., side] + (0.5 if side == 0 else -0.5))[..., None]
                near = (-0.5 * ((clip - at) / width) ** 2).exp()  # (R, G, T)
                near = (near * span_mask[..., None]).amax(1)
                iou_like = near * clip_mask
                losses['loss_boundary'] = losses['loss_boundary'] + self.boundary_weight * (
                    _segment_cross_entropy(curve, iou_like, clip_mask, out.query)
                )
        # How much of each clip the moment fills: one shorter than a clip is somewhere, too.
        first, last = clip - 0.5, clip + 0.5
        share = torch.minimum(truth[..., 1:], last) - torch.maximum(truth[..., :1], first)
        share = share.clamp(min=0) * span_mask[..., None]  # (R, G, T)
        inside = share.amax(1) if truth.shape[1] else torch.zeros_like(out.inside)
        loss = F.binary_cross_entropy_with_logits(out.inside, inside, reduction='none')
        losses['loss_inside'] = self.inside_weight * _masked_mean(loss, clip_mask)
        return losses


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp(min=1)


def _segment_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor, query: Tensor) -> Tensor:
    """Cross-entropy of a softmax over all clips of a query's videos, towards ``target (R, T)``."""
    floor = torch.finfo(logits.dtype).min
    log_total = segment_logsumexp(logits.masked_fill(~mask, floor), query)
    log_prob = (logits - log_total[:, None]).masked_fill(~mask, 0.0)
    total = target.new_zeros(len(query)).index_add(0, query, target.sum(1))
    gain = target.new_zeros(len(query)).index_add(0, query, (target * log_prob).sum(1))
    has = total > 0
    return (-(gain / total.clamp(min=1e-6)) * has).sum() / has.sum().clamp(min=1)
