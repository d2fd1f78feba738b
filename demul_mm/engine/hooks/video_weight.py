"""Fit how much the likeness of query and video weighs in the joint score, by searching a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.utils.data import DataLoader

from demul_mm.engine.models import models_of, unwrapped
from demul_mm.models.heads.joint_score import TERMS
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import HOOKS
from demul_mm.retrieval import EncodedVideo, encode_batch, encode_queries, localize_pairs
from demul_mm.structures import span_iou

VIDEO = TERMS.index('video')


@HOOKS.register_module()
@dataclass(eq=False)
class VideoWeightHook(Hook):
    """Before each validation, search the held-out videos and fit ``JointScore.video_weight``.

    Rivals of a training batch say little of it: they are chosen for being like the query, and the
    model has seen all of them. So the one number is fitted where it is used: queries of the
    validation split, which must be held-out train videos, are fused with the videos that the shared
    space finds for them, and the likelihood of their moments among all of these is maximised. As in
    a search, a query whose own video is not found says nothing: were its own added, all others
    would be liker by choice, and likeness would seem to mislead. Nothing is fitted while testing.

    Args:
        num_rivals: videos beside its own that a query is fused with.
        max_queries: so many of the queries are asked, evenly spread over the split.
        iou_thr: the IoU at which a moment counts as right.
    """

    # After the EMA hook has put the averaged weights in place.
    priority = 'BELOW_NORMAL'

    num_rivals: int = 10
    max_queries: int = 300
    iou_thr: float = 0.5

    def before_val_epoch(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        model.eval()
        weight = self.fit(model, runner.val_loop.dataloader)
        if weight is None:
            return
        for each in models_of(runner):
            each.head.joint.video_weight.fill_(weight)
        runner.logger.info(f'the likeness of query and video weighs {weight:.2f}')

    @torch.no_grad()
    def fit(self, model: DeMUL, loader: DataLoader) -> float | None:
        """The weight that suits the videos and queries of ``loader``; None without a hit at all."""
        videos: list[EncodedVideo] = []
        asked: list[tuple[str, int, Tensor]] = []  # sentence, its video, true moments in seconds
        for batch in loader:
            for sample, video in zip(batch['data_samples'], encode_batch(model, batch)):
                moments = zip(sample.queries, sample.gt_spans)
                asked += [(text, len(videos), spans) for text, spans in moments]
                videos.append(video)
        asked = asked[:: max(1, -(-len(asked) // self.max_queries))]
        mine = self._search(model, videos, asked) if len(videos) > 1 and asked else []
        # All ranks fit one number, each having searched the videos of its own share.
        return best_weight([row for part in all_gather_object(mine) for row in part])

    def _search(
        self, model: DeMUL, videos: Sequence[EncodedVideo], asked: Sequence[tuple[str, int, Tensor]]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Fuse each query with the videos that are likest, if its own is among them."""
        queries = encode_queries(model, [text for text, _, _ in asked])
        alike = torch.stack([_likeness(model, queries.shared, video) for video in videos], 1)
        own = torch.tensor([owner for _, owner, _ in asked], device=alike.device)[:, None]
        best = alike.topk(min(self.num_rivals + 1, len(videos)), 1).indices  # (Q, K)
        rows = (best == own).any(1).nonzero()[:, 0]
        if not len(rows):
            return []
        first = alike.scatter(1, own, torch.inf)[rows]  # the own video comes first
        wanted = first.topk(best.shape[1], 1).indices.tolist()
        weight = model.head.joint.video_weight.item()
        found = localize_pairs(model, videos, queries.select(rows), wanted)
        truths = [asked[i][2] for i in rows.tolist()]
        return [self._row(moments, truth, weight) for moments, truth in zip(found, truths)]

    def _row(
        self, moments: Sequence[InstanceData], truth: Tensor, weight: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score without the likeness, likeness and hit of all moments of one query."""
        joint = torch.cat([found.joint for found in moments]).double()
        video = torch.cat([found.terms[:, VIDEO] for found in moments]).double()
        hit = torch.zeros(len(joint), dtype=torch.bool)
        own = moments[0].spans
        if len(truth) and len(own):
            best = span_iou(own[:, None].double(), truth.double()[None]).amax(1)
            hit[: len(own)] = best >= self.iou_thr
        return joint - video, video / weight, hit


def _likeness(model: DeMUL, shared: Tensor, video: EncodedVideo) -> Tensor:
    """``(Q,)``: how like a video is to each of ``shared (Q, S)``."""
    cells = video.encoding.shared[0].to(shared)
    mask = video.encoding.mask.to(shared.device)
    return model.head.video_similarity(shared @ cells.T, mask.expand(len(shared), -1))


def best_weight(
    rows: Sequence[tuple[Tensor, Tensor, Tensor]], low: float = 0.1, high: float = 1000.0
) -> float | None:
    """The weight ``w`` that makes the hits likeliest under a softmax of ``rest + w video``.

    Args:
        rows: for each query ``rest (N,)``, ``video (N,)`` and ``hit (N,)`` of its moments in all of
            its videos; queries without a hit do not count.

    Returns:
        the weight, or None where no query has a hit.
    """
    rows = [row for row in rows if bool(row[2].any())]
    if not rows:
        return None

    def surprise(log_weight: float) -> float:
        scores = [rest + torch.tensor(log_weight).exp() * video for rest, video, _ in rows]
        return sum(
            float(score.logsumexp(0) - score[hit].logsumexp(0))
            for score, (_, _, hit) in zip(scores, rows)
        ) / len(rows)

    bounds = torch.tensor([low, high]).log().tolist()
    return float(torch.tensor(minimize_scalar(surprise, bounds=bounds, method='bounded').x).exp())
