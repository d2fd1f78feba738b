"""The unified localization head: multi-scale candidates, rated by one joint score."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.heads.candidates import WINDOW, HeadOutput, of_points, with_spans
from demul_mm.models.heads.joint_score import BOUNDARY
from demul_mm.models.heads.proposal import decode_distances
from demul_mm.models.layers import Dropout
from demul_mm.models.losses import segment_logsumexp
from demul_mm.models.task_modules.curves import coherence, sample_curve, smooth
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS
from demul_mm.structures import FusedPairs, MomentCandidates


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
        joint: config of the joint score.
        smoothing: share of its own value that a clip of the inside curve keeps; 1 for none.
        dropout: rate on the hidden layer.
    """

    def __init__(
        self,
        dim: int = 128,
        candidates: Sequence[dict] = (),
        regress: bool = True,
        profile: dict | None = None,
        joint: dict | None = None,
        smoothing: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.candidates = nn.ModuleList(
            MODELS.build({'dim': dim, **config}) for config in candidates
        )
        self.regress = regress
        channels = 4 + (4 if profile else 0)  # four for the profile alone, without a meaning
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
        return MomentCandidates(out.spans / scale, scores, terms, out.mask, self._alone(out))

    def _alone(self, out: HeadOutput) -> Tensor:
        """How much the boundary term of each pair ``(R,)`` loses because start and end are
        normalised over all videos of the query.
        """
        curves = [curve.masked_fill(~out.clip_mask, -1e4) for curve in (out.start, out.end)]
        lost = [segment_logsumexp(one, out.query) - one.logsumexp(1) for one in curves]
        return (lost[0] + lost[1]) / 2 * self.joint.weights[BOUNDARY]
