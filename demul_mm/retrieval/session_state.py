"""State of a search session: its options, and the feedback so far."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

from demul_mm.index import SearchFilter
from demul_mm.retrieval.constraints import Constraint, Relation, from_json, to_json
from demul_mm.retrieval.options import SearchOptions
from demul_mm.structures.names import as_names


class MomentRef(NamedTuple):
    """A moment that feedback is about."""

    video_id: str
    start: float  # seconds
    end: float  # seconds


@dataclass(frozen=True)
class SessionOptions(SearchOptions):
    """How a session searches: the options of a search, and these.

    Attributes:
        per_video: moments of a video that are looked through where there are constraints.
        depth: moments that are looked through when constraints or dislikes take some out.
        same_iou: a moment is the one that was disliked from this IoU on, and is not shown again.
        tolerance: how much weaker than a video's best moment another occurrence of it may be: in
            logits for fused moments, a tenth of that in similarity for the others.
    """

    per_video: int | None = 20
    depth: int = 500
    same_iou: float = 0.5
    tolerance: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values.

        Raises:
            ValueError: ``where`` has a predicate, which is none.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.where is not None:
            if self.where.predicate is not None:
                raise ValueError(
                    "the session's filter has a predicate, a function, which cannot be saved; "
                    'give conditions instead'
                )
            ids = self.where.video_ids
            values['where'] = dict(
                video_ids=None if ids is None else as_names(ids, 'video_ids'),
                excluded_ids=as_names(self.where.excluded_ids, 'excluded_ids'),
                conditions=list(self.where.conditions),
            )
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'SessionOptions':
        """What :meth:`as_dict` gave."""
        where = values.get('where')
        return cls(**{**values, 'where': None if where is None else SearchFilter(**where)})


@dataclass(frozen=True)
class SearchState:
    """Feedback and constraints so far.

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

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(asdict(self), constraints=[to_json(c) for c in self.constraints])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'SearchState':
        """What :meth:`as_dict` gave."""
        return cls(
            said=values['said'],
            liked=tuple(MomentRef(*ref) for ref in values['liked']),
            disliked=tuple(MomentRef(*ref) for ref in values['disliked']),
            constraints=tuple(map(from_json, values['constraints'])),
            excluded=tuple(values['excluded']),
            kept=None if values['kept'] is None else tuple(values['kept']),
        )

    def where(self, given: SearchFilter | None = None) -> SearchFilter | None:
        """The videos to look at, of those that pass what was given; None: all."""
        kept = self.kept
        for constraint in self.constraints:
            if isinstance(constraint, Relation):
                video = constraint.video_id
                kept = tuple(v for v in (kept if kept is not None else (video,)) if v == video)
        if kept is None and not self.excluded:
            return given
        given = given or SearchFilter()
        ids = given.video_ids
        if kept is not None and ids is not None:
            ids = set(as_names(ids, 'video_ids'))
            kept = tuple(video for video in kept if video in ids)
        return replace(
            given,
            video_ids=ids if kept is None else kept,
            excluded_ids=(*as_names(given.excluded_ids, 'excluded_ids'), *self.excluded),
        )


def in_words(items: Sequence[Any]) -> str:
    """Moments, videos or constraints, one after the other."""
    return ', '.join(
        f'{i.start:g}-{i.end:g} s of {i.video_id}' if isinstance(i, MomentRef) else str(i)
        for i in items
    )
