"""What exists in the rendered world: colours, shapes, actions, actors and events."""

from dataclasses import dataclass

FPS = 8
"""Frames per second of every video. All times of events are whole frames."""
SIZE = 64
"""Height and width in pixels."""

COLOURS = {
    'red': (225, 45, 45),
    'green': (45, 185, 60),
    'blue': (50, 90, 240),
    'yellow': (235, 215, 50),
    'white': (240, 240, 240),
}
SHAPES = ('disc', 'square', 'triangle', 'cross')
ACTIONS = (
    'move_left',
    'move_right',
    'move_up',
    'move_down',
    'spin',
    'grow',
    'shrink',
    'blink',
    'enter',
    'leave',
    'touch',
)
APPROACH = 'approach'
"""Going to or coming back from a meeting: happens, but is never named by a sentence."""

SPINLESS = ('disc',)
"""Shapes whose rotation cannot be seen."""


@dataclass(frozen=True)
class Actor:
    """A coloured shape; ``radius`` in pixels before it grows or shrinks."""

    colour: str
    shape: str
    radius: float


@dataclass(frozen=True)
class Event:
    """Something an actor does in frames ``[start, end)``.

    ``side`` is where an enter or leave happens, ``other`` the second actor of a touch, and
    ``implies`` names the actions that also describe it (who enters from the left also moves right).
    """

    actor: int
    action: str
    start: int
    end: int
    side: str | None = None
    other: int | None = None
    implies: tuple[str, ...] = ()

    @property
    def span(self) -> tuple[float, float]:
        """Start and end in seconds."""
        return self.start / FPS, self.end / FPS


def is_held_out(colour: str, shape: str, action: str) -> bool:
    """Whether a combination is kept out of every training video.

    One colour in five for each pair of shape and action, so that each colour, shape, action and
    each pair of them is still seen in training.
    """
    c, s, a = tuple(COLOURS).index(colour), SHAPES.index(shape), ACTIONS.index(action)
    return (c + 2 * s + 3 * a) % len(COLOURS) == 0


def held_out_combinations() -> list[tuple[str, str, str]]:
    """All (colour, shape, action) that no training video shows, in a fixed order."""
    return [
        (c, s, a)
        for c in COLOURS
        for s in SHAPES
        for a in ACTIONS
        if is_held_out(c, s, a) and not (a == 'spin' and s in SPINLESS)
    ]
