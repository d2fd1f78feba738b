"""Turns questions into English: synonyms, active and passive, and several word orders."""

from typing import NamedTuple

import numpy as np

from demul_mm.rendered.queries import Form, Question

COLOUR_WORDS = {
    'red': ('red', 'red', 'crimson'),
    'green': ('green', 'green', 'emerald'),
    'blue': ('blue', 'blue', 'azure'),
    'yellow': ('yellow', 'yellow', 'golden'),
    'white': ('white', 'white', 'snow-white'),
}
SHAPE_WORDS = {
    'disc': ('disc', 'circle', 'ball'),
    'square': ('square', 'box', 'block'),
    'triangle': ('triangle', 'triangle', 'wedge'),
    'cross': ('cross', 'cross', 'plus sign'),
    '': ('shape', 'object', 'thing'),
}


class Verb(NamedTuple):
    """A verb for an action in the forms that follow 'it', 'it is' and 'it has'."""

    present: str
    participle: str
    perfect: str


def _verbs(*ways: str) -> tuple[Verb, ...]:
    """Verbs from texts such as 'spins, spinning, spun'."""
    return tuple(Verb(*way.split(', ')) for way in ways)


def _move(to: str, wards: str, *more: str) -> tuple[Verb, ...]:
    return _verbs(
        f'moves {to}, moving {to}, moved {to}',
        f'slides {to}, sliding {to}, slid {to}',
        f'glides {wards}, gliding {wards}, glided {wards}',
        f'is moved {to}, being moved {to}, been moved {to}',
        *more,
    )


VERBS: dict[str, tuple[Verb, ...]] = {
    'move_left': _move('to the left', 'leftwards'),
    'move_right': _move('to the right', 'rightwards'),
    'move_up': _move('up', 'upwards', 'rises, rising, risen'),
    'move_down': _move('down', 'downwards', 'sinks, sinking, sunk'),
    'spin': _verbs(
        'spins, spinning, spun',
        'rotates, rotating, rotated',
        'is spun round, being spun round, been spun round',
    ),
    'grow': _verbs(
        'grows, growing, grown',
        'gets bigger, getting bigger, got bigger',
        'is enlarged, being enlarged, been enlarged',
    ),
    'shrink': _verbs(
        'shrinks, shrinking, shrunk',
        'gets smaller, getting smaller, got smaller',
        'is made smaller, being made smaller, been made smaller',
    ),
    'blink': _verbs(
        'blinks, blinking, blinked',
        'flashes, flashing, flashed',
        'is switched on and off, being switched on and off, been switched on and off',
    ),
    'enter': _verbs(
        'enters, entering, entered', 'comes in, coming in, come in', 'arrives, arriving, arrived'
    ),
    'leave': _verbs(
        'leaves, leaving, left', 'goes out, going out, gone out', 'exits, exiting, exited'
    ),
    'touch': _verbs(
        'touches, touching, touched',
        'meets, meeting, met',
        'is touched by, being touched by, been touched by',
    ),
}
SIDE_WORDS = {
    'enter': ' from the {}',
    'leave': ' at the {} edge',
}
ORDINALS = {
    0: ('for the first time', 'a first time'),
    1: ('for the second time', 'a second time', 'once more'),
    2: ('for the third time', 'a third time'),
    -1: ('for the last time', 'one last time'),
}


class Grammar:
    """Writes questions as sentences; ``rng`` makes every choice of words."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def _pick(self, options: tuple) -> str | Verb:
        return options[int(self.rng.integers(len(options)))]

    def _noun(self, colour: str | None, shape: str | None, definite: bool = True) -> str:
        words = [str(self._pick(COLOUR_WORDS[colour]))] if colour else []
        words.append(str(self._pick(SHAPE_WORDS[shape or ''])))
        text = ' '.join(words)
        if definite and colour and shape:
            return f'the {text}'
        return f'{"an" if text[0] in "aeiou" else "a"} {text}'

    def _clause(self, form: Form, style: str, definite: bool = True) -> str:
        """'the red disc spins', '... is spinning', '... has spun' or '... spinning'."""
        subject = self._noun(form.colour, form.shape, definite)
        verb = self._pick(VERBS[form.action])
        assert isinstance(verb, Verb)
        tail = f' {self._noun(*form.other)}' if form.other else ''
        if form.side:
            tail += SIDE_WORDS[form.action].format(form.side)
        middle = {
            'present': verb.present,
            'progressive': f'is {verb.participle}',
            'perfect': f'has {verb.perfect}',
            'participle': verb.participle,
        }[style]
        return f'{subject} {middle}{tail}'

    def _main(self, question: Question) -> str:
        form = question.form
        if question.ordinal is not None:
            times, clause = ORDINALS[question.ordinal], self._clause(form, 'present')
            if self.rng.random() < 0.3:
                return f'{times[0]}, {clause}'
            return f'{clause} {self._pick(times)}'
        style = str(self.rng.choice(['present', 'progressive', 'participle'], p=[0.6, 0.2, 0.2]))
        if style == 'participle':
            lead = self._pick(('there is', 'we see', 'someone films'))
            return f'{lead} {self._clause(form, style, definite=False)}'
        return self._clause(form, style)

    def sentence(self, question: Question) -> str:
        """One sentence, capitalised, with a full stop."""
        main = self._main(question)
        if question.relation is not None and question.anchor is not None:
            word, style = {
                'after': (('after', 'once'), 'perfect'),
                'before': (('before',), 'present'),
                'while': (('while', 'as'), 'progressive'),
            }[question.relation]
            side = f'{self._pick(word)} {self._clause(question.anchor, style)}'
            main = f'{side}, {main}' if self.rng.random() < 0.4 else f'{main} {side}'
        return f'{main[0].upper()}{main[1:]}.'
