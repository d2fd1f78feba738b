"""One search that goes on: feedback on moments, words about when, and undoing all of it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from demul_mm.evaluation.predictions import write_text_atomically
from demul_mm.index import SearchFilter
from demul_mm.retrieval.constraints import (
    Constraint,
    Ordinal,
    Relation,
    from_json,
    occurrence,
    parse_constraints,
    passes,
    to_json,
)
from demul_mm.retrieval.refining import FeedbackWeights, MomentVectors, refine_query
from demul_mm.retrieval.search import CorpusMoment, CorpusSearcher, encode_queries
from demul_mm.structures import QueryEncoding

FORMAT, VERSION = 'demul_mm.session', 1


class MomentRef(NamedTuple):
    """A moment that somebody pointed at."""

    video_id: str
    start: float  # seconds
    end: float  # seconds


@dataclass(frozen=True)
class SessionOptions:
    """How a session searches.

    Attributes:
        mode: as in :meth:`CorpusSearcher.search`.
        num_moments: moments shown.
        num_fused: videos fused.
        num_videos: videos that level 2 lets through.
        depth: moments that are looked through when constraints or dislikes take some out.
        per_video: moments of a video among them.
        same_iou: a moment is the one that was disliked from this IoU on, and is not shown again.
        tolerance: how much weaker than a video's best moment another occurrence of it may be: in
            logits for fused moments, a tenth of that in similarity for the others.
    """

    mode: str = 'full'
    num_moments: int = 10
    num_fused: int = 20
    num_videos: int = 200
    depth: int = 500
    per_video: int = 20
    same_iou: float = 0.5
    tolerance: float = 1.0


@dataclass(frozen=True)
class SearchState:
    """What has been said so far.

    Attributes:
        said: the step that led here, in words.
        liked: moments.
        disliked: moments.
        constraints: all must hold.
        excluded: videos.
        kept: the only videos to look at; None: all.
    """

    said: str = ''
    liked: tuple[MomentRef, ...] = ()
    disliked: tuple[MomentRef, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    excluded: tuple[str, ...] = ()
    kept: tuple[str, ...] | None = None


Pointer = int | MomentRef | CorpusMoment


@dataclass
class SearchSession:
    """A sentence, searched again and again as its user says more about what is meant.

    Liked moments draw the query towards them in the shared space, disliked ones push it away and
    are not shown again; words ("later than 0:40", "after that one", "the second time") filter and
    re-rank. What is shown depends on the current state alone, so that :meth:`undo` gives back
    exactly what was there.

    Args:
        searcher: of the corpus.
        text: the sentence.
        options: how to search.
        weights: of feedback.
        transfer: weight of the semantic memory; 0 for none.
        query: the sentence encoded; None: the searcher's model encodes it.
    """

    searcher: CorpusSearcher
    text: str
    options: SessionOptions = field(default_factory=SessionOptions)
    weights: FeedbackWeights = field(default_factory=FeedbackWeights)
    transfer: float = 0.0
    query: QueryEncoding | None = None

    def __post_init__(self) -> None:
        if self.query is None:
            self.query = encode_queries(self.searcher.model, [self.text], self.transfer)
        self._vectors = MomentVectors(self.searcher.index)
        self._states = [SearchState(said='searched')]
        self._shown: dict[int, list[CorpusMoment]] = {}  # by place in _states

    # What is there.

    @property
    def state(self) -> SearchState:
        """What holds now."""
        return self._states[-1]

    @property
    def history(self) -> list[str]:
        """The steps so far, in words."""
        return [state.said for state in self._states]

    @property
    def results(self) -> list[CorpusMoment]:
        """The moments that are shown now, best first."""
        place = len(self._states) - 1
        if place not in self._shown:
            self._shown[place] = self._search(self.state)
        return self._shown[place]

    # What a user can say.

    def like(self, *which: Pointer) -> list[CorpusMoment]:
        """ "This one, yes": numbers of shown moments from 1 on, or moments. Returns the results."""
        refs = self._refer_all(which)
        return self._go(
            f'liked {_list(refs)}',
            liked=_union(self.state.liked, refs),
            disliked=_without(self.state.disliked, refs),
        )

    def dislike(self, *which: Pointer) -> list[CorpusMoment]:
        """ "That one, no"; see :meth:`like`."""
        refs = self._refer_all(which)
        return self._go(
            f'disliked {_list(refs)}',
            liked=_without(self.state.liked, refs),
            disliked=_union(self.state.disliked, refs),
        )

    def tell(self, words: str) -> list[CorpusMoment]:
        """Say when it is; see :func:`parse_constraints`. "That one" is the last liked moment, or
        else the first that is shown."""
        found = parse_constraints(words, lambda n: tuple(self._refer(n)))
        return self._go(words, constraints=(*self.state.constraints, *found))

    def exclude(self, *videos: int | str) -> list[CorpusMoment]:
        """Never these videos: ids, or numbers of shown moments."""
        names = self._videos(videos)
        return self._go(f'without {_list(names)}', excluded=_union(self.state.excluded, names))

    def keep(self, *videos: int | str) -> list[CorpusMoment]:
        """Only these videos: ids, or numbers of shown moments."""
        names = self._videos(videos)
        return self._go(f'only {_list(names)}', kept=tuple(names))

    def undo(self, steps: int = 1) -> list[CorpusMoment]:
        """Take back the last steps; returns what was shown before them."""
        if not 1 <= steps < len(self._states):
            raise ValueError(
                f'there are {len(self._states) - 1} steps to undo; {steps} were to be undone'
            )
        for _ in range(steps):
            self._states.pop()
            self._shown.pop(len(self._states), None)
        return self.results

    # Keeping.

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values, with what is shown now."""
        states = [
            dict(asdict(state), constraints=[to_json(c) for c in state.constraints])
            for state in self._states
        ]
        return dict(
            format=FORMAT,
            version=VERSION,
            text=self.text,
            transfer=self.transfer,
            options=asdict(self.options),
            weights=asdict(self.weights),
            model_fingerprint=self.searcher.index.stats()['model_fingerprint'],
            states=states,
            results=[asdict(moment) for moment in self.results],
        )

    def save(self, path: str | Path) -> None:
        """Write the session as JSON."""
        write_text_atomically(path, json.dumps(self.as_dict(), indent=1, ensure_ascii=False))

    @classmethod
    def load(
        cls, path: str | Path, searcher: CorpusSearcher, query: QueryEncoding | None = None
    ) -> 'SearchSession':
        """Go on with a saved session.

        Args:
            path: of the file.
            searcher: of the corpus; searches again, so that the results are those of its index.
            query: see :class:`SearchSession`.

        Raises:
            ValueError: the file is no session, or one of other weights.
        """
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict) or content.get('format') != FORMAT:
            raise ValueError(f'{path} holds no search session')
        if content['version'] != VERSION:
            raise ValueError(f'{path} is of version {content["version"]}; {VERSION} can be read')
        known = searcher.index.stats()['model_fingerprint']
        if content['model_fingerprint'] != known:
            raise ValueError(
                f'{path} was saved with model {content["model_fingerprint"]!r}, this is {known!r}'
            )
        session = cls(
            searcher,
            content['text'],
            SessionOptions(**content['options']),
            FeedbackWeights(**content['weights']),
            content['transfer'],
            query,
        )
        session._states = [_state(values) for values in content['states']]
        return session

    def show(self) -> str:
        """What holds and what was found, for reading."""
        state = self.state
        lines = [f'"{self.text}"']
        parts = dict(
            when=state.constraints, yes=state.liked, no=state.disliked, without=state.excluded
        )
        lines += [f'  {name}: {_list(values)}' for name, values in parts.items() if values]
        if state.kept is not None:
            lines.append(f'  only: {_list(state.kept)}')
        for number, m in enumerate(self.results, 1):
            chance = '' if m.probability is None else f'  probability {m.probability:.3f}'
            mark = '+' if any(self._same(m, ref) for ref in state.liked) else ' '
            lines.append(
                f'{mark}{number:3d}. {m.start:8.2f} s  {m.end:8.2f} s  {m.video_id}  '
                f'{m.score:.3f}{chance}'
            )
        if not self.results:
            lines.append('  nothing is left; undo something')
        return '\n'.join(lines)

    # How it works.

    def _go(self, said: str, **changes: Any) -> list[CorpusMoment]:
        self._states.append(replace(self.state, said=said, **changes))
        try:
            return self.results
        except BaseException:
            self._states.pop()
            raise

    def _refer(self, which: Pointer | None) -> MomentRef:
        if which is None:
            if self.state.liked:
                return self.state.liked[-1]
            which = 1
        if isinstance(which, int):
            if not 1 <= which <= len(self.results):
                raise ValueError(
                    f'there is no moment {which}; {len(self.results)} are shown, counted from 1'
                )
            which = self.results[which - 1]
        return MomentRef(which.video_id, which.start, which.end)

    def _refer_all(self, which: Sequence[Pointer]) -> list[MomentRef]:
        if not which:
            raise ValueError('no moment was named; give numbers of shown moments, from 1 on')
        return [self._refer(one) for one in which]

    def _videos(self, videos: Sequence[int | str]) -> list[str]:
        if not videos:
            raise ValueError('no video was named; give ids or numbers of shown moments')
        return [v if isinstance(v, str) else self._refer(v).video_id for v in videos]

    def _same(self, moment: CorpusMoment, ref: MomentRef) -> bool:
        if moment.video_id != ref.video_id:
            return False
        inter = min(moment.end, ref.end) - max(moment.start, ref.start)
        hull = max(moment.end, ref.end) - min(moment.start, ref.start)
        return inter >= self.options.same_iou * hull

    def _vectors_of(self, refs: Sequence[MomentRef]) -> torch.Tensor:
        assert self.query is not None
        rows = [self._vectors(ref.video_id, np.array([ref[1:]])) for ref in refs]
        return torch.cat([torch.zeros(0, self.query.shared.shape[1]), *rows])

    def _search(self, state: SearchState) -> list[CorpusMoment]:
        assert self.query is not None
        options = self.options
        query = self.query.shared[0].float().cpu()
        refined, offset = refine_query(
            query, self._vectors_of(state.liked), self._vectors_of(state.disliked), self.weights
        )
        narrowed = bool(state.constraints or state.disliked)
        answers, _ = self.searcher.search(
            self.query,
            mode=options.mode,
            num_moments=max(options.depth, options.num_moments)
            if narrowed
            else options.num_moments,
            num_fused=options.num_fused,
            num_videos=max(options.num_videos, options.num_fused),
            per_video=options.per_video if state.constraints else None,
            where=_filter(state),
            vectors=refined[None].numpy(),
        )
        moments = self._rescore(answers[0].moments, offset)
        moments = [m for m in moments if self._allowed(m, state)]
        for constraint in state.constraints:
            if isinstance(constraint, Ordinal):
                moments = self._occurrences(moments, constraint.number)
        return moments[: options.num_moments]

    def _rescore(self, moments: list[CorpusMoment], offset: torch.Tensor) -> list[CorpusMoment]:
        """Fused moments again, their logits moved by what feedback says of them."""
        if not bool(offset.any()):
            return moments
        fused = [m for m in moments if m.probability is not None]
        rows = []
        for m in fused:
            vector = self._vectors(m.video_id, np.array([[m.start, m.end]]))[0]
            gain = self.weights.fused * float(vector @ offset)
            rows.append(replace(m, score=_sigmoid(_logit(m.score) + gain)))
        rows.sort(key=lambda m: -m.score)
        return rows + [m for m in moments if m.probability is None]

    def _allowed(self, moment: CorpusMoment, state: SearchState) -> bool:
        if any(self._same(moment, ref) for ref in state.disliked):
            return False
        return all(passes(c, moment.video_id, moment.start, moment.end) for c in state.constraints)

    def _occurrences(self, moments: Sequence[CorpusMoment], number: int) -> list[CorpusMoment]:
        """The ``number``-th time in each video, best first."""
        videos: dict[str, list[CorpusMoment]] = {}
        for moment in moments:
            videos.setdefault(moment.video_id, []).append(moment)
        found = []
        for own in videos.values():
            fused = own[0].probability is not None
            strength: Callable[[CorpusMoment], float] = (
                (lambda m: _logit(m.score)) if fused else (lambda m: m.score)
            )
            tolerance = self.options.tolerance * (1.0 if fused else 0.1)
            one = occurrence(own, lambda m: (m.start, m.end), strength, number, tolerance)
            if one is not None:
                found.append(one)
        return sorted(found, key=lambda m: (m.probability is None, -m.score))


def _filter(state: SearchState) -> SearchFilter | None:
    kept = state.kept
    for constraint in state.constraints:
        if isinstance(constraint, Relation):
            kept = tuple(v for v in (kept or (constraint.video_id,)) if v == constraint.video_id)
    if kept is None and not state.excluded:
        return None
    return SearchFilter(video_ids=kept, excluded_ids=state.excluded)


def _state(values: Mapping[str, Any]) -> SearchState:
    return SearchState(
        said=values['said'],
        liked=tuple(MomentRef(*ref) for ref in values['liked']),
        disliked=tuple(MomentRef(*ref) for ref in values['disliked']),
        constraints=tuple(map(from_json, values['constraints'])),
        excluded=tuple(values['excluded']),
        kept=None if values['kept'] is None else tuple(values['kept']),
    )


def _union(old: Sequence[Any], new: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*old, *new]))


def _without(old: Sequence[MomentRef], gone: Sequence[MomentRef]) -> tuple[MomentRef, ...]:
    return tuple(ref for ref in old if ref not in gone)


def _list(items: Sequence[Any]) -> str:
    return ', '.join(
        f'{i.start:g}-{i.end:g} s of {i.video_id}' if isinstance(i, MomentRef) else str(i)
        for i in items
    )


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
