"""Simulated users who give feedback on the moments that they are shown."""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from trained import Asked, Trained

from demul_mm.retrieval import (
    FeedbackWeights,
    MomentRef,
    SearchSession,
    SessionOptions,
    encode_queries,
)
from demul_mm.structures import Moment, pairwise_iou

Similar = Callable[[Asked, list[Moment]], list[Moment]]


class NearestCaption:
    """A user who likes the shown moment whose caption is nearest to the query, if any is near.

    Args:
        trained: with the captions.
        minimum: least similarity of a caption and the query.
    """

    def __init__(self, trained: Trained, minimum: float = 0.6) -> None:
        self.captions = trained.captions
        self.minimum = minimum
        texts = sorted({text for rows in trained.captions.values() for text, _ in rows})
        texts = sorted({*texts, *(asked.text for asked in trained.queries)})
        self._place = {text: i for i, text in enumerate(texts)}
        with torch.no_grad():
            parts = [
                trained.model.encode_query(texts[i : i + 256]).meaning
                for i in tqdm(range(0, len(texts), 256), desc='captions', leave=False)
            ]
        self._meaning = torch.cat(parts)

    def caption(self, moment: Moment) -> str | None:
        """The caption of the annotated moment that this one overlaps most, if by enough."""
        rows = self.captions[moment.video_id]
        spans = torch.tensor([span for _, span in rows])
        iou = pairwise_iou(torch.tensor([[moment.start, moment.end]]), spans)[0]
        best = int(iou.argmax())
        return rows[best][0] if iou[best] >= 0.3 else None

    def meaning(self, text: str) -> Tensor:
        return self._meaning[self._place[text]]

    def __call__(self, asked: Asked, shown: list[Moment]) -> list[Moment]:
        wanted = self.meaning(asked.text)
        found = []
        for moment in shown:
            text = self.caption(moment)
            found.append(-1.0 if text is None else float(wanted @ self.meaning(text)))
        best = int(np.argmax(found))
        return [shown[best]] if found[best] >= self.minimum else []


def in_right_video(asked: Asked, shown: list[Moment]) -> list[Moment]:
    return [m for m in shown if m.video_id == asked.video_id][:1]


def nothing(asked: Asked, shown: list[Moment]) -> list[Moment]:
    return []


def is_right(asked: Asked, moment: Moment, iou: float) -> bool:
    if moment.video_id != asked.video_id:
        return False
    found = torch.tensor([[moment.start, moment.end]])
    return bool((pairwise_iou(found, torch.tensor(asked.spans)) >= iou).any())


def play(
    session: SearchSession, asked: Asked, similar: Similar, rounds: int, iou: float
) -> list[tuple[bool, bool]]:
    """After each round, whether the right moment and the right video are among those shown."""
    outcomes: list[tuple[bool, bool]] = []
    for number in range(rounds + 1):
        shown = session.results
        moment = any(is_right(asked, m, iou) for m in shown)
        outcomes.append((moment, any(m.video_id == asked.video_id for m in shown)))
        if moment:  # the user is content
            return outcomes + [(True, True)] * (rounds - number)
        if number < rounds and shown:
            alike = [MomentRef(m.video_id, m.start, m.end) for m in similar(asked, shown)]
            session.dislike(*[m for m in shown if (m.video_id, m.start, m.end) not in alike])
            if alike:
                session.like(*alike)
    return outcomes


def users_of(
    trained: Trained,
    liked: Sequence[float] | None,
    disliked: Sequence[float] | None,
    fused: float | None,
) -> list[tuple[str, Similar, FeedbackWeights]]:
    """Each kind of user with the weights of its feedback; None: those that searches use."""
    liked = [FeedbackWeights.liked] if liked is None else liked
    disliked = [FeedbackWeights.disliked] if disliked is None else disliked
    fused = FeedbackWeights.fused if fused is None else fused
    nearest = NearestCaption(trained)
    return [
        ('paging', nothing, FeedbackWeights(0, 0, 0)),
        *((f'no, {no:g}', nothing, FeedbackWeights(0, no, fused)) for no in disliked),
        *((f'alike, {yes:g}', nearest, FeedbackWeights(yes, disliked[0], fused)) for yes in liked),
        ('video', in_right_video, FeedbackWeights(liked[0], disliked[0])),
    ]


def simulate(
    trained: Trained, similar: Similar, weights: FeedbackWeights, args: argparse.Namespace
) -> np.ndarray:
    """``(Q, rounds + 1, 2)`` bool: right moment, right video."""
    options = SessionOptions(mode=args.mode, num_moments=10, depth=200)
    outcomes = []
    for asked in tqdm(trained.queries, leave=False):
        query = encode_queries(trained.model, [asked.text])
        session = SearchSession(trained.searcher, asked.text, options, weights, query=query)
        outcomes.append(play(session, asked, similar, args.rounds, args.iou))
    return np.array(outcomes)
