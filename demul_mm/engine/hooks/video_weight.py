"""Fit the weights of likeness and words in choosing the video of a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor
from torch.utils.data import DataLoader

from demul_mm.engine.models import models_of, unwrapped
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.index.words import TEXT, WordIndex
from demul_mm.models.heads.joint_score import VIDEO
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import HOOKS
from demul_mm.retrieval import EncodedVideo, encode_batch, encode_queries, localize_pairs
from demul_mm.structures import QueryEncoding, span_iou


class Weights(NamedTuple):
    """What is fitted: the weight of the likeness of a video, and of BM25 within it."""

    video: float
    words: float


class Corpus(NamedTuple):
    """Videos, and queries that are searched among them.

    Attributes:
        videos: ``V`` of them.
        queries: ``Q`` of them.
        own: ``(Q,)``, the video that each is about.
        truths: of each, its moments ``(G, 2)`` in seconds.
        alike: ``(Q, V)``, similarity.
        words: ``(Q, V)``, BM25; 0 without texts.
    """

    videos: list[EncodedVideo]
    queries: QueryEncoding
    own: Tensor
    truths: Sequence[Tensor]
    alike: Tensor
    words: Tensor


@HOOKS.register_module()
@dataclass(eq=False)
class VideoWeightHook(Hook):
    """Before each validation, fit the weights that decide which video a query is about.

    The rivals of a training batch are no sample of what a search finds: they are chosen for high
    similarity, and the model was trained on them. So two numbers are fitted by searching the videos
    of the validation split, which must be held-out train videos:

    - ``JointScore.words_weight``, of BM25 beside the likeness of query and video: the likelihood of
      a query's video among all of them is maximised. Without texts it is 0.
    - ``JointScore.video_weight``, of both: queries are fused with the videos that are likest, and
      the likelihood of their moments among all of these is maximised. A query whose own video is
      not among them is left out: adding the own video would bias the fit, since all other videos
      were selected for high similarity.

    Processes share the work; each keeps all videos, so that the numbers are the same however many
    there are. Nothing is fitted while testing.

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
        weights = self.fit(model, runner.val_loop.dataloader)
        if weights is None:
            return
        for each in models_of(runner):
            each.head.joint.video_weight.fill_(weights.video)
            each.head.joint.words_weight.fill_(weights.words)
        runner.logger.info(
            f'the likeness of query and video weighs {weights.video:.2f}, and within it a point of '
            f'BM25 {weights.words:.4f}'
        )

    @torch.no_grad()
    def fit(self, model: DeMUL, loader: DataLoader) -> Weights | None:
        """What suits the videos and queries of ``loader``; None without a hit at all."""
        corpus = self._encode(model, loader)
        if corpus is None:
            return None
        words = best_words(corpus.alike, corpus.words, corpus.own)
        rows = of_all_ranks(self._search(model, corpus, words))
        video = best_weight(list(rows.values()))
        return None if video is None else Weights(video, words)

    def _encode(self, model: DeMUL, loader: DataLoader) -> Corpus | None:
        """The videos and some of their queries; None where there is nothing to choose from."""
        seen: dict[int, tuple[EncodedVideo, list[tuple[str, Tensor]]]] = {}
        for batch in loader:
            for sample, video in zip(batch['data_samples'], encode_batch(model, batch)):
                moments = list(zip(sample.queries, sample.gt_spans))
                seen[int(sample.sample_idx)] = (video, moments)
        everything = list(of_all_ranks(seen).values())
        videos = [video for video, _ in everything]
        # Sentences, their videos, and their true moments in seconds.
        asked = [
            (text, number, spans)
            for number, (_, moments) in enumerate(everything)
            for text, spans in moments
        ]
        asked = asked[:: max(1, -(-len(asked) // self.max_queries))]
        if len(videos) < 2 or not asked:
            return None
        sentences, owners, truths = zip(*asked)
        queries = encode_queries(model, sentences)
        index = WordIndex.of([str(video.meta.get(TEXT, '')) for video in videos])
        words = np.stack([index.scores(sentence) for sentence in sentences])
        alike = torch.stack([_similarity(model, queries.shared, video) for video in videos], 1)
        own = torch.tensor(owners)
        return Corpus(videos, queries, own, truths, alike.cpu(), torch.from_numpy(words))

    def _search(
        self, model: DeMUL, corpus: Corpus, words: float
    ) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Fuse each query of this rank with the videos that are likest, if its own is among them.

        Returns:
            what :func:`best_weight` is given, by the number of the query.
        """
        from_words = words * corpus.words
        alike, own = corpus.alike + from_words, corpus.own[:, None]
        best = alike.topk(min(self.num_rivals + 1, len(corpus.videos)), 1).indices  # (Q, K)
        rank, world = get_dist_info()
        mine = torch.arange(len(own)) % world == rank
        rows = ((best == own).any(1) & mine).nonzero()[:, 0]
        if not len(rows):
            return {}
        first = alike.scatter(1, own, torch.inf)[rows]  # the own video comes first
        wanted = first.topk(best.shape[1], 1).indices
        weight = model.head.joint.video_weight.item()
        queries = corpus.queries.select(rows.to(corpus.queries.shared.device))
        found = localize_pairs(model, corpus.videos, queries, wanted.tolist())
        return {
            row: self._row(moments, corpus.truths[row], weight, from_words[row, choice])
            for row, moments, choice in zip(rows.tolist(), found, wanted)
        }

    def _row(
        self, moments: Sequence[InstanceData], truth: Tensor, weight: float, from_words: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score without likeness, similarity with words, and hit of all moments of one query."""
        joint = torch.cat([found.joint for found in moments]).double()
        video = torch.cat([found.terms[:, VIDEO] for found in moments]).double()
        counts = torch.tensor([len(found.joint) for found in moments])
        similarity = video / weight + from_words.double().repeat_interleave(counts).to(video.device)
        hit = torch.zeros(len(joint), dtype=torch.bool)
        own = moments[0].spans
        if len(truth) and len(own):
            best = span_iou(own[:, None].double(), truth.double()[None]).amax(1)
            hit[: len(own)] = best >= self.iou_thr
        return joint - video, similarity, hit


def _similarity(model: DeMUL, shared: Tensor, video: EncodedVideo) -> Tensor:
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


def best_words(
    alike: Tensor, words: Tensor, own: Tensor, low: float = 1.0, high: float = 1000.0
) -> float:
    """The weight ``w`` of words that makes the right videos likeliest.

    With a scale ``a`` in ``[low, high]`` that is fitted too, under a softmax over the videos of
    ``a (alike + w words)``.

    Args:
        alike: ``(Q, V)`` of queries and videos.
        words: ``(Q, V)``.
        own: ``(Q,)``, the right videos.

    Returns:
        the weight; 0 where words say nothing.
    """
    if not bool(words.any()):
        return 0.0

    def surprise(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(x, requires_grad=True)
        scores = weights[0] * alike.double() + weights[1] * words.double()
        loss = F.cross_entropy(scores, own, reduction='sum') / len(own)
        (gradient,) = torch.autograd.grad(loss, weights)
        return loss.item(), gradient.numpy()

    with torch.enable_grad():  # convex in a and a w
        start, bounds = np.array([low, 0.0]), [(low, high), (0.0, high)]
        scale, scaled = minimize(surprise, start, jac=True, bounds=bounds).x
    return float(scaled / scale)
