"""Draws the questions about a video, each with exactly one answer in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demul_mm.rendered.script import Script
from demul_mm.rendered.world import ACTIONS, FPS, Actor, Event, is_held_out

SLACK = 1 * FPS
"""Frames by which an event must miss a temporal relation so that it clearly does."""
OVERLAP = 0.7
"""Share of an event that must lie within the anchor for it to happen "while" the anchor does."""


@dataclass(frozen=True)
class Form:
    """What a clause says of an event; None for what it leaves out.

    ``colour`` and ``shape`` describe the actor, ``other`` the second one of a touch. A touch is
    symmetric: it does not matter which of the two is named first.
    """

    action: str
    colour: str | None
    shape: str | None
    side: str | None = None
    other: tuple[str, str] | None = None

    def fits(self, event: Event, actors: Sequence[Actor]) -> bool:
        """Whether the clause is a true description of the event."""
        if self.action != event.action and self.action not in event.implies:
            return False
        if self.side is not None and self.side != event.side:
            return False
        if event.other is None or self.other is None:
            return self._names(actors[event.actor])
        first, second = actors[event.actor], actors[event.other]
        return any(
            self._names(a) and self.other == (b.colour, b.shape)
            for a, b in ((first, second), (second, first))
        )

    def _names(self, actor: Actor) -> bool:
        return self.colour in (None, actor.colour) and self.shape in (None, actor.shape)


@dataclass(frozen=True)
class Question:
    """A target event and how to tell it from all others.

    ``ordinal`` counts the events that ``form`` fits from 0 (-1: the last); ``relation`` is
    'after', 'before' or 'while' and places the target relative to the event of ``anchor``.
    """

    target: int
    form: Form
    ordinal: int | None = None
    relation: str | None = None
    anchor: Form | None = None

    @property
    def kind(self) -> str:
        if self.relation:
            return self.relation
        return 'plain' if self.ordinal is None else 'ordinal'


def matches(form: Form, script: Script) -> list[int]:
    """Indices of the events a form fits, in order of their start."""
    return [i for i, e in enumerate(script.events) if form.fits(e, script.actors)]


def related(script: Script, found: list[int], relation: str, anchor: Event) -> list[int] | None:
    """The events of ``found`` in a relation to the anchor; None if one of them is a near miss."""
    clear, near = [], []
    for index in found:
        event = script.events[index]
        if relation == 'after':
            is_clear, is_near = event.start >= anchor.end, event.start >= anchor.end - SLACK
        elif relation == 'before':
            is_clear, is_near = event.end <= anchor.start, event.end <= anchor.start + SLACK
        else:
            shared = min(event.end, anchor.end) - max(event.start, anchor.start)
            is_clear = shared >= OVERLAP * (event.end - event.start)
            is_near = shared > 0
        clear += [index] if is_clear else []
        near += [index] if is_near else []
    return clear if clear == near else None


def _draw_form(event: Event, script: Script, rng: np.random.Generator) -> Form:
    """A clause about an event, sometimes without its colour or shape."""
    actor = script.actors[event.actor]
    other = None
    if event.other is not None:
        partner = script.actors[event.other]
        if rng.random() < 0.3:
            actor, partner = partner, actor
        other = (partner.colour, partner.shape)
    vague = rng.random() if other is None else 1.0
    return Form(
        action=event.action,
        colour=None if vague < 0.06 else actor.colour,
        shape=None if 0.06 < vague < 0.14 else actor.shape,
        side=event.side if rng.random() < 0.5 else None,
        other=other,
    )


def _question(
    kind: str, target: int, script: Script, rng: np.random.Generator, anchors: dict[int, Form]
) -> Question | None:
    """A question of a kind about an event, or None where it would not be unambiguous."""
    form = _draw_form(script.events[target], script, rng)
    found = matches(form, script)
    if kind == 'plain':
        return Question(target, form) if found == [target] else None
    if kind == 'ordinal':
        if len(found) < 2 or len(found) > 4:
            return None
        rank = found.index(target)
        last = rank == len(found) - 1 and rng.random() < 0.4
        return Question(target, form, ordinal=-1 if last else rank) if rank < 3 or last else None
    # Rarely a relation that is not needed to tell the event from others.
    if len(found) == 1 and rng.random() < 0.4:
        return None
    for anchor in rng.permutation([a for a in anchors if a not in found]):
        event = script.events[anchor]
        far = abs(event.end - script.events[target].start) > 25 * FPS
        if kind != 'while' and far:
            continue
        if related(script, found, kind, event) == [target]:
            return Question(target, form, relation=kind, anchor=anchors[int(anchor)])
    return None


KINDS = {'plain': 0.62, 'ordinal': 0.06, 'after': 0.11, 'before': 0.1, 'while': 0.11}


def is_novel(question: Question, script: Script) -> bool:
    """Whether the target shows a combination that training never does."""
    event = script.events[question.target]
    actor = script.actors[event.actor]
    return is_held_out(actor.colour, actor.shape, event.action)


def draw_questions(script: Script, rng: np.random.Generator, novel: bool) -> list[Question]:
    """Eight to twelve unambiguous questions about different events, or fewer if there are fewer.

    ``novel`` prefers events whose combination is held out of training.
    """
    events = script.events
    named = [i for i, e in enumerate(events) if e.action in ACTIONS]
    anchors: dict[int, Form] = {}
    for i in named:
        event, actor = events[i], script.actors[events[i].actor]
        other = None if event.other is None else script.actors[event.other]
        form = Form(
            event.action,
            actor.colour,
            actor.shape,
            other=None if other is None else (other.colour, other.shape),
        )
        if matches(form, script) == [i]:
            anchors[i] = form
    questions: list[Question] = []
    wanted = int(rng.integers(8, 13))
    for _ in range(12 * wanted):
        asked = {q.target for q in questions}
        left = [i for i in named if i not in asked]
        if len(questions) == wanted or not left:
            break
        weight = np.array([_weight(events[i], script, novel) for i in left])
        target = left[int(rng.choice(len(left), p=weight / weight.sum()))]
        kind = str(rng.choice(tuple(KINDS), p=tuple(KINDS.values())))
        question = _question(kind, target, script, rng, anchors)
        if question is not None:
            questions.append(question)
    return questions


def _weight(event: Event, script: Script, novel: bool) -> float:
    """How often an event is asked about: long ones more often, since they are rarer."""
    actor = script.actors[event.actor]
    weight = (event.end - event.start) ** 0.5
    return weight * (3.0 if novel and is_held_out(actor.colour, actor.shape, event.action) else 1)
