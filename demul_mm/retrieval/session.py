"""Search sessions: feedback on moments, constraints on their time, and undo."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demul_mm.files import read_text, write_atomically
from demul_mm.retrieval.constraints import Ordinal, parse_constraints, passes
from demul_mm.retrieval.refining import (
    FeedbackWeights,
    MomentVectors,
    pick_occurrences,
    refine_query,
    rescore,
)
from demul_mm.retrieval.searcher import CorpusSearcher, encode_queries
from demul_mm.retrieval.session_state import MomentRef, SearchState, SessionOptions, in_words
from demul_mm.structures import Moment, QueryEncoding

FORMAT, VERSION = 'demul_mm.session', 1


Pointer = int | MomentRef | Moment


@dataclass
class SearchSession:
    """A search for a sentence, which is refined step by step.

    Liked moments draw the query towards them in the shared space, disliked ones push it away and
    are not shown again; words ("later than 0:40", "after that one", "the second time") filter and
    re-rank. What is shown depends on the current state alone, so that :meth:`undo` gives back
    exactly what was there.

    Args:
        searcher: finds moments in the corpus.
        text: the sentence.
        options: how to search.
        weights: what feedback counts.
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
        self._shown: dict[int, list[Moment]] = {}  # by place in _states

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
    def results(self) -> list[Moment]:
        """The moments that are shown now, best first."""
        place = len(self._states) - 1
        if place not in self._shown:
            self._shown[place] = self._search(self.state)
        return self._shown[place]

    # What a user can say.

    def like(self, *which: Pointer) -> list[Moment]:
        """ "This one, yes": numbers of shown moments from 1 on, or moments. Returns the results."""
        refs = self._refer_all(which)
        return self._go(
            f'liked {in_words(refs)}',
            liked=_union(self.state.liked, refs),
            disliked=_without(self.state.disliked, refs),
        )

    def dislike(self, *which: Pointer) -> list[Moment]:
        """ "That one, no"; see :meth:`like`."""
        refs = self._refer_all(which)
        return self._go(
            f'disliked {in_words(refs)}',
            liked=_without(self.state.liked, refs),
            disliked=_union(self.state.disliked, refs),
        )

    def tell(self, words: str) -> list[Moment]:
        """Say when it is; see :func:`parse_constraints`. "That one" is the last liked moment, or
        else the first that is shown."""
        found = parse_constraints(words, self._refer)
        return self._go(words, constraints=(*self.state.constraints, *found))

    def exclude(self, *videos: int | str) -> list[Moment]:
        """Never these videos: ids, or numbers of shown moments."""
        names = self._videos(videos)
        return self._go(f'without {in_words(names)}', excluded=_union(self.state.excluded, names))

    def keep(self, *videos: int | str) -> list[Moment]:
        """Only these videos: ids, or numbers of shown moments."""
        names = self._videos(videos)
        return self._go(f'only {in_words(names)}', kept=tuple(names))

    def undo(self, steps: int = 1) -> list[Moment]:
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
        return dict(
            format=FORMAT,
            version=VERSION,
            text=self.text,
            transfer=self.transfer,
            options=self.options.as_dict(),
            weights=asdict(self.weights),
            model_fingerprint=self.searcher.index.stats()['model_fingerprint'],
            states=[state.as_dict() for state in self._states],
            results=[asdict(moment) for moment in self.results],
        )

    def save(self, path: str | Path) -> None:
        """Write the session as JSON.

        Raises:
            ValueError: its options hold a function, see :meth:`SessionOptions.as_dict`.
        """
        write_atomically(path, json.dumps(self.as_dict(), indent=1, ensure_ascii=False))

    @classmethod
    def load(
        cls, path: str | Path, searcher: CorpusSearcher, query: QueryEncoding | None = None
    ) -> 'SearchSession':
        """Go on with a saved session.

        Args:
            searcher: finds moments in the corpus; searches again, so that the results are those of
                its index.
            query: see :class:`SearchSession`.

        Raises:
            ValueError: the file is no session, or one of other weights.
        """
        content = read_session(path)
        known = searcher.index.stats()['model_fingerprint']
        if content['model_fingerprint'] != known:
            raise ValueError(
                f'{path} was saved with model {content["model_fingerprint"]!r}, this is {known!r}'
            )
        session = cls(
            searcher,
            content['text'],
            SessionOptions.from_dict(content['options']),
            FeedbackWeights(**content['weights']),
            content['transfer'],
            query,
        )
        session._states = [SearchState.from_dict(values) for values in content['states']]
        return session

    def show(self) -> str:
        """What holds and what was found, for reading."""
        state = self.state
        lines = [f'"{self.text}"']
        parts = dict(
            when=state.constraints, yes=state.liked, no=state.disliked, without=state.excluded
        )
        lines += [f'  {name}: {in_words(values)}' for name, values in parts.items() if values]
        if state.kept is not None:
            lines.append(f'  only: {in_words(state.kept)}')
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

    def _go(self, said: str, **changes: Any) -> list[Moment]:
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

    def _same(self, moment: Moment, ref: MomentRef) -> bool:
        if moment.video_id != ref.video_id:
            return False
        inter = min(moment.end, ref.end) - max(moment.start, ref.start)
        hull = max(moment.end, ref.end) - min(moment.start, ref.start)
        return inter >= self.options.same_iou * hull

    def _vectors_of(self, refs: Sequence[MomentRef]) -> torch.Tensor:
        assert self.query is not None
        rows = [self._vectors(ref.video_id, np.array([ref[1:]])) for ref in refs]
        return torch.cat([torch.zeros(0, self.query.shared.shape[1]), *rows])

    def _search(self, state: SearchState) -> list[Moment]:
        assert self.query is not None
        options = self.options
        query = self.query.shared[0].float().cpu()
        refined, offset = refine_query(
            query, self._vectors_of(state.liked), self._vectors_of(state.disliked), self.weights
        )
        narrowed = bool(state.constraints or state.disliked)
        answers, _ = self.searcher.search(
            self.query,
            replace(
                options,
                num_moments=max(options.num_moments, options.depth if narrowed else 0),
                per_video=options.per_video if state.constraints else None,
                where=state.where(options.where),
            ),
            vectors=refined[None].numpy(),
            sentences=[self.text],
        )
        moments = answers[0].moments
        if bool(offset.any()):
            moments = rescore(moments, self._vectors, self.weights.fused * offset)
        moments = [m for m in moments if self._allowed(m, state)]
        for constraint in state.constraints:
            if isinstance(constraint, Ordinal):
                moments = pick_occurrences(moments, constraint.number, options.tolerance)
        return moments[: options.num_moments]

    def _allowed(self, moment: Moment, state: SearchState) -> bool:
        if any(self._same(moment, ref) for ref in state.disliked):
            return False
        return all(passes(c, moment.video_id, moment.start, moment.end) for c in state.constraints)


def read_session(path: str | Path) -> dict[str, Any]:
    """What :meth:`SearchSession.as_dict` gave, of a saved session.

    Raises:
        ValueError: the file is no session.
    """
    content = json.loads(read_text(path))
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise ValueError(f'{path} holds no search session')
    if content['version'] != VERSION:
        raise ValueError(f'{path} is of version {content["version"]}; {VERSION} can be read')
    return content


def _union(old: Sequence[Any], new: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*old, *new]))


def _without(old: Sequence[MomentRef], gone: Sequence[MomentRef]) -> tuple[MomentRef, ...]:
    return tuple(ref for ref in old if ref not in gone)
