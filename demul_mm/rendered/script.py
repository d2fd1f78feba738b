"""Draws the script of one video: its actors, and who does what when."""

from dataclasses import dataclass

import numpy as np

from demul_mm.rendered.stage import Stage
from demul_mm.rendered.world import (
    COLOURS,
    FPS,
    SHAPES,
    SPINLESS,
    Actor,
    Event,
    is_held_out,
)

TRAVELS = ('move_left', 'move_right', 'move_up', 'move_down', 'enter', 'leave', 'touch')


@dataclass(frozen=True)
class Script:
    """All that happens in a video; ``pose``, ``here`` and ``lit`` as in :class:`Stage`."""

    actors: list[Actor]
    events: list[Event]
    pose: np.ndarray
    here: np.ndarray
    lit: np.ndarray

    @property
    def num_frames(self) -> int:
        return self.pose.shape[1]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / FPS


def write_script(
    rng: np.random.Generator, *, novel: bool, min_seconds: float, max_seconds: float
) -> Script:
    """Draw a video of a log-uniform length.

    Args:
        novel: Prefer the held-out combinations; where False they never occur.
        min_seconds: Shortest video.
        max_seconds: Longest video.
    """
    seconds = np.exp(rng.uniform(np.log(min_seconds), np.log(max_seconds)))
    num_frames = round(float(seconds) * FPS)
    cast = _draw_cast(rng)
    stage = Stage(cast, num_frames, rng, longest=min(25.0, 0.5 * num_frames / FPS))
    pool = _draw_pool(rng)
    for index, actor in enumerate(cast):
        can_enter = novel or not is_held_out(actor.colour, actor.shape, 'enter')
        if (can_enter and rng.random() < 0.4) or not stage.place(index):
            stage.wait(index, 1, 8)
    while (stage.free < num_frames).any():
        _act(stage, int(np.argmin(stage.free)), pool, novel)
    events = sorted(stage.events, key=lambda e: (e.start, e.end, e.actor, e.action))
    return Script(cast, events, stage.pose, stage.here, stage.lit)


def _draw_cast(rng: np.random.Generator) -> list[Actor]:
    """Three or four actors of few colours and shapes, so that each shares some with others."""
    colours = rng.choice(tuple(COLOURS), 3, replace=False)
    shapes = rng.choice(SHAPES, 3, replace=False)
    kinds = rng.choice(9, int(rng.integers(3, 5)), replace=False)
    return [
        Actor(str(colours[k // 3]), str(shapes[k % 3]), float(rng.uniform(5.2, 7.5))) for k in kinds
    ]


def _draw_pool(rng: np.random.Generator) -> list[str]:
    """The few kinds of action of one video, so that the same action is done by several actors."""
    groups: list[tuple[str, ...]] = [
        ('move_left', 'move_right'),
        ('move_up', 'move_down'),
        ('spin',),
        ('grow', 'shrink'),
        ('blink',),
        ('touch',),
    ]
    chosen = rng.choice(len(groups), 5, replace=False)
    return [action for g in sorted(chosen) for action in groups[g]]


def _act(stage: Stage, index: int, pool: list[str], novel: bool) -> None:
    """Let one actor do its next thing, or wait."""
    rng, actor = stage.rng, stage.actors[index]
    start = int(stage.free[index])
    on_stage = bool(stage.here[index, start])

    # What just happened is not continued at once, or two events would look like one.
    last = [e for e in stage.events if e.actor == index and e.end > start - FPS]
    done = {a for e in last for a in (e.action, *e.implies)}
    travelled = any(a in TRAVELS for a in done)

    def allowed(action: str) -> bool:
        if action == 'spin' and actor.shape in SPINLESS:
            return False
        if action in done or (travelled and action in TRAVELS):
            return False
        return novel or not is_held_out(actor.colour, actor.shape, action)

    if not on_stage:
        if not (allowed('enter') and stage.act(index, 'enter')):
            stage.wait(index, 1, 5)
        return
    options = [a for a in [*pool, 'leave'] if allowed(a)]
    if not options or rng.random() < 0.5:
        stage.wait(index, 2, 6)
        return
    weight = np.array([_weight(actor, a, novel) for a in options])
    order = rng.choice(len(options), len(options), replace=False, p=weight / weight.sum())
    for choice in order[:4]:
        if stage.act(index, options[choice]):
            break
    else:
        stage.wait(index, 0.5, 1.5)


def _weight(actor: Actor, action: str, novel: bool) -> float:
    weight = 0.5 if action == 'leave' else 1.0
    return weight * (4.0 if novel and is_held_out(actor.colour, actor.shape, action) else 1.0)
