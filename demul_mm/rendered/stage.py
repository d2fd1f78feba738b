"""Draws the actions of actors without collisions, as poses per frame."""

from dataclasses import dataclass, field

import numpy as np

from demul_mm.rendered.world import APPROACH, FPS, SIZE, Actor, Event

X, Y, RADIUS, ANGLE = range(4)
MARGIN = 1.5
"""Pixels kept free between two actors that do not touch."""
CONTACT = 0.78
"""Distance of two touching actors in units of the sum of their radii."""
DIRECTIONS = {
    'move_left': (-1, 0),
    'move_right': (1, 0),
    'move_up': (0, -1),
    'move_down': (0, 1),
}
INWARD = {'left': 'move_right', 'right': 'move_left', 'top': 'move_down', 'bottom': 'move_up'}
OUTWARD = {'left': 'move_left', 'right': 'move_right', 'top': 'move_up', 'bottom': 'move_down'}


@dataclass
class Stage:
    """Poses of all actors at all frames, and the events that made them.

    Attributes:
        pose: (N, F, 4) float: x, y, radius in pixels, angle in radians.
        here: (N, F) bool: on stage, from the first frame of entering to the last of leaving.
        lit: (N, F) bool: not in the dark half of a blink.
        free: (N,) the frame up to which each actor's poses are decided.
    """

    actors: list[Actor]
    num_frames: int
    rng: np.random.Generator
    longest: float = 25.0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.actors)
        self.pose = np.zeros((n, self.num_frames, 4))
        self.here = np.zeros((n, self.num_frames), bool)
        self.lit = np.ones((n, self.num_frames), bool)
        self.free = np.zeros(n, int)

    # -- placing ---------------------------------------------------------------------------------

    def place(self, actor: int) -> bool:
        """Stand an actor somewhere free at frame 0; False where there is no room."""
        radius = self.actors[actor].radius
        for _ in range(20):
            x, y = self.rng.uniform(radius + 1, SIZE - radius - 1, 2)
            path = np.array([[x, y, radius, 0.0]])
            if self._clear(actor, 0, path):
                self._write(actor, 0, path, hold=True)
                return True
        return False

    def _future(self, actor: int, start: int, path: np.ndarray) -> np.ndarray:
        """``path`` from frame ``start``, held until every other actor's plan is over."""
        end = min(max(start + len(path), int(self.free.max())), self.num_frames)
        return np.concatenate([path, np.repeat(path[-1:], max(end - start - len(path), 0), 0)])

    def _clear(self, actor: int, start: int, path: np.ndarray, but: int | None = None) -> bool:
        path = self._future(actor, start, path)
        stop = start + len(path)
        gap = np.hypot(
            self.pose[:, start:stop, X] - path[:, X], self.pose[:, start:stop, Y] - path[:, Y]
        )
        gap -= self.pose[:, start:stop, RADIUS] + path[:, RADIUS] + MARGIN
        hit = (gap < 0) & self.here[:, start:stop]
        hit[actor] = False
        if but is not None:
            hit[but] = False
        return not hit.any()

    def _write(self, actor: int, start: int, path: np.ndarray, hold: bool) -> None:
        """Store a path and the pose after it (``hold``: stays on stage, else is gone)."""
        stop = start + len(path)
        self.pose[actor, start:stop] = path
        self.here[actor, start:stop] = True
        self.pose[actor, stop:] = path[-1]
        self.here[actor, stop:] = hold
        self.free[actor] = stop

    def _now(self, actor: int) -> np.ndarray:
        return self.pose[actor, self.free[actor]].copy()

    def _duration(self, low: float, high: float) -> int:
        """A number of frames between ``low`` and ``high`` seconds, nearly log-uniform."""
        high = max(low, min(high, self.longest))
        share = self.rng.uniform() ** 0.8
        return round(FPS * float(low * (high / low) ** share))

    def _commit(
        self,
        actor: int,
        action: str,
        path: np.ndarray,
        *,
        side: str | None = None,
        implies: tuple[str, ...] = (),
        hold: bool = True,
    ) -> bool:
        """Store the path as an event when it fits in time and space; returns whether it did."""
        start = int(self.free[actor])
        stop = start + len(path)
        if stop > self.num_frames or not self._clear(actor, start, path):
            return False
        self._write(actor, start, path, hold)
        self.events.append(Event(actor, action, start, stop, side=side, implies=implies))
        return True

    # -- what an actor can do --------------------------------------------------------------------

    def wait(self, actor: int, low: float, high: float) -> None:
        """Do nothing for a while."""
        self.free[actor] = min(self.free[actor] + self._duration(low, high), self.num_frames)

    def act(self, actor: int, action: str) -> bool:
        """Try an action from where the actor is; False when it does not fit."""
        if self.free[actor] >= self.num_frames:
            return False
        if action in DIRECTIONS:
            return self._move(actor, action)
        return getattr(self, f'_{action}')(actor)

    def _move(self, actor: int, action: str) -> bool:
        now, direction = self._now(actor), np.array(DIRECTIONS[action])
        room = (SIZE - now[RADIUS] - 1) if direction.sum() > 0 else (now[RADIUS] + 1)
        reach = abs(room - now[X if direction[0] else Y])
        if reach < 13:
            return False
        distance = self.rng.uniform(13, reach)
        speed = float(np.exp(self.rng.uniform(np.log(2), np.log(8))))
        n = round(FPS * float(np.clip(distance / speed, 2, self.longest)))
        path = np.repeat(now[None], n, 0)
        path[:, :2] += np.linspace(0, 1, n + 1)[1:, None] * distance * direction
        return self._commit(actor, action, path)

    def _spin(self, actor: int) -> bool:
        n = self._duration(3, 25)
        path = np.repeat(self._now(actor)[None], n, 0)
        rate = self.rng.uniform(0.35, 0.8) * self.rng.choice([-1, 1]) * 2 * np.pi / FPS
        path[:, ANGLE] += rate * np.arange(1, n + 1)
        return self._commit(actor, 'spin', path)

    def _resize(self, actor: int, action: str, target: float) -> bool:
        now = self._now(actor)
        change = abs(target - now[RADIUS])
        inside = min(now[X], now[Y], SIZE - now[X], SIZE - now[Y])
        if change < 2.2 or inside < target + 1:
            return False
        n = self._duration(3, 12)
        path = np.repeat(now[None], n, 0)
        path[:, RADIUS] = now[RADIUS] + (target - now[RADIUS]) * np.linspace(0, 1, n + 1)[1:]
        return self._commit(actor, action, path)

    def _grow(self, actor: int) -> bool:
        return self._resize(actor, 'grow', self.rng.uniform(8.5, 11))

    def _shrink(self, actor: int) -> bool:
        return self._resize(actor, 'shrink', self.rng.uniform(4.2, 5.2))

    def _blink(self, actor: int) -> bool:
        n = self._duration(3, 25)
        start = int(self.free[actor])
        if not self._commit(actor, 'blink', np.repeat(self._now(actor)[None], n, 0)):
            return False
        # Two dark frames in five, dark first and last: the span is what can be seen.
        self.lit[actor, start : start + n] = np.arange(n) % 5 > 1
        self.lit[actor, start + n - 1] = False
        return True

    def _outside(self, side: str, at: np.ndarray) -> np.ndarray:
        """The pose beyond the edge ``side`` on the row or column of ``at``."""
        out = at.copy()
        beyond = at[RADIUS] * 1.2 + 1
        axis = X if side in ('left', 'right') else Y
        out[axis] = -beyond if side in ('left', 'top') else SIZE + beyond
        return out

    def _enter(self, actor: int) -> bool:
        radius = self.actors[actor].radius
        side = str(self.rng.choice(tuple(INWARD)))
        goal = np.array([*self.rng.uniform(radius + 2, SIZE - radius - 2, 2), radius, 0.0])
        n = self._duration(1.5, 6)
        step = np.linspace(0, 1, n + 1)[1:, None]
        path = self._outside(side, goal) * (1 - step) + goal * step
        return self._commit(actor, 'enter', path, side=side, implies=(INWARD[side],))

    def _leave(self, actor: int) -> bool:
        now = self._now(actor)
        side = str(self.rng.choice(tuple(OUTWARD)))
        n = self._duration(1.5, 6)
        step = np.linspace(0, 1, n + 1)[1:, None]
        path = now * (1 - step) + self._outside(side, now) * step
        return self._commit(actor, 'leave', path, side=side, implies=(OUTWARD[side],), hold=False)

    def _touch(self, actor: int) -> bool:
        """Go to another actor, stay in contact with it, and come back."""
        start = int(self.free[actor])
        ready = [
            b
            for b in range(len(self.actors))
            if b != actor and self.free[b] - start <= FPS and self.free[b] < self.num_frames
        ]
        ready = [b for b in ready if self.here[b, self.free[b]]]
        if not ready:
            return False
        other = int(self.rng.choice(ready))
        now, there = self._now(actor), self._now(other)
        away = now[:2] - there[:2]
        distance = float(np.hypot(*away))
        contact = CONTACT * (now[RADIUS] + there[RADIUS])
        goal = now.copy()
        goal[:2] = there[:2] + away / distance * contact
        go = max(self._duration(1, 2.5), int(self.free[other]) - start + 1)
        stay, back = self._duration(2.5, 15), self._duration(1, 2.5)
        step = np.concatenate(
            [np.linspace(0, 1, go + 1)[1:], np.ones(stay), np.linspace(1, 0, back + 1)[1:]]
        )[:, None]
        path = now * (1 - step) + goal * step
        stop = start + len(path)
        if stop > self.num_frames or not self._clear(actor, start, path, but=other):
            return False
        # Contact as it is seen, which begins a little before the actor stands still.
        near = np.hypot(path[:, X] - there[X], path[:, Y] - there[Y])
        touching = np.flatnonzero(near <= 0.95 * (now[RADIUS] + there[RADIUS]))
        first, last = start + int(touching[0]), start + int(touching[-1]) + 1
        self._write(actor, start, path, hold=True)
        self.free[other] = stop
        self.events.append(Event(actor, 'touch', first, last, other=other))
        for begin, end, sign in ((start, first, -1), (last, stop, 1)):
            self.events.append(Event(actor, APPROACH, begin, end, implies=_directions(sign * away)))
        return True


def _directions(vector: np.ndarray) -> tuple[str, ...]:
    """The named directions that a diagonal movement could be described as."""
    length = float(np.hypot(*vector))
    return tuple(
        name
        for name, direction in DIRECTIONS.items()
        if float(np.dot(vector, direction)) > 0.35 * length
    )
