"""Measure how R@10 rises when a user says what is right, wrong or alike among what is shown.

A simulated user looks at the ten moments shown. When a right one is among them (right video, IoU
at least .5) the search has ended well. Otherwise all ten are called wrong and are not shown again,
and each kind of user may say something more:

* ``paging`` says nothing that the search could learn from: the next ten are shown. What feedback
  is worth is what it adds to this.
* ``no`` says that the ten are wrong, and the query moves away from them.
* ``alike`` also says which of them is most like what is meant: the one whose own caption (that of
  the annotated moment it overlaps most, IoU at least .3) is nearest to the query in the language
  model's sentence vectors, from a likeness of .6 on. This user sees what is shown and knows what
  is wanted, but not where it is.
* ``video`` recognises the right video and says of a wrong moment in it that it is alike. This user
  knows more than a real one would.

Examples:
    python benchmarks/feedback.py configs/demul_demo.py work_dirs/demo/train/best.pth --with-train
    python benchmarks/feedback.py configs/demul_demo.py best.pth --mode full --queries 100
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from trained import Asked, Trained, add_arguments, load_trained

from demul_mm.retrieval import (
    CorpusMoment,
    FeedbackWeights,
    MomentRef,
    SearchSession,
    SessionOptions,
    encode_queries,
)
from demul_mm.structures import pairwise_iou

Similar = Callable[[Asked, list[CorpusMoment]], list[CorpusMoment]]


class Likeness:
    """How like what is wanted the captions of shown moments are.

    Args:
        trained: with the captions.
        minimum: of a caption's likeness to the query.
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

    def caption(self, moment: CorpusMoment) -> str | None:
        """Of the annotated moment that this one overlaps most."""
        rows = self.captions[moment.video_id]
        spans = torch.tensor([span for _, span in rows])
        iou = pairwise_iou(torch.tensor([[moment.start, moment.end]]), spans)[0]
        best = int(iou.argmax())
        return rows[best][0] if iou[best] >= 0.3 else None

    def meaning(self, text: str) -> Tensor:
        return self._meaning[self._place[text]]

    def __call__(self, asked: Asked, shown: list[CorpusMoment]) -> list[CorpusMoment]:
        """The shown moment whose caption is nearest, if any is near."""
        wanted = self.meaning(asked.text)
        found = []
        for moment in shown:
            text = self.caption(moment)
            found.append(-1.0 if text is None else float(wanted @ self.meaning(text)))
        best = int(np.argmax(found))
        return [shown[best]] if found[best] >= self.minimum else []


def in_right_video(asked: Asked, shown: list[CorpusMoment]) -> list[CorpusMoment]:
    return [m for m in shown if m.video_id == asked.video_id][:1]


def nothing(asked: Asked, shown: list[CorpusMoment]) -> list[CorpusMoment]:
    return []


def is_right(asked: Asked, moment: CorpusMoment, iou: float) -> bool:
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument('--mode', choices=['fast', 'full'], default='fast')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--iou', type=float, default=0.5)
    parser.add_argument('--liked', type=float, nargs='+', default=[FeedbackWeights.liked])
    parser.add_argument('--disliked', type=float, nargs='+', default=[FeedbackWeights.disliked])
    parser.add_argument('--fused', type=float, default=FeedbackWeights.fused)
    args = parser.parse_args()
    trained = load_trained(args)
    nearest = Likeness(trained)
    users: list[tuple[str, Similar, FeedbackWeights]] = [
        ('paging', nothing, FeedbackWeights(0, 0, 0))
    ]
    for disliked in args.disliked:
        users.append((f'no, {disliked:g}', nothing, FeedbackWeights(0, disliked, args.fused)))
    for liked in args.liked:
        weights = FeedbackWeights(liked, args.disliked[0], args.fused)
        users.append((f'alike, {liked:g}', nearest, weights))
    users.append(('video', in_right_video, FeedbackWeights(args.liked[0], args.disliked[0])))
    videos = trained.searcher.index.stats()['videos']
    print(f'{len(trained.queries)} queries, {videos} videos, mode {args.mode}, IoU {args.iou:g}\n')
    heads = [f'{what}, round {r}' for what in ('R@10', 'video') for r in range(args.rounds + 1)]
    print('| user | ' + ' | '.join(heads) + ' |\n| --- |' + ' --- |' * len(heads))
    for name, similar, weights in users:
        outcomes = simulate(trained, similar, weights, args)
        cells = 100 * outcomes.mean(0).T.reshape(-1)
        print(f'| {name} | ' + ' | '.join(f'{cell:.1f}' for cell in cells) + ' |', flush=True)


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


if __name__ == '__main__':
    main()
