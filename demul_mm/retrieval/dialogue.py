"""A search session by typed lines."""

from collections.abc import Callable
from pathlib import Path

from demul_mm.retrieval.session import SearchSession

HELP = """\
  yes 1 3          these are right, or like it       no 2 4           these are not
  later than 0:40  before 1:20  between 10 and 20 s  (where in its video)
  after that one   before #3    (that one: the last yes, or else the first shown)
  the second time  the last one (of several in a video)
  without 2        not in that video                 only 2           in no other video
  undo             takes the last step back          show, history, save FILE, help, quit
  find SENTENCE    starts a new search"""


class Dialogue:
    """Answers lines of text about one search.

    Args:
        start: begins a search for a sentence.
        text: the first sentence.
    """

    def __init__(self, start: Callable[[str], SearchSession], text: str) -> None:
        self._start = start
        self.session = start(text)
        self.ended = False

    def answer(self, line: str) -> str:
        """Do what a line says; returns what to show, an error included."""
        word, _, rest = line.strip().partition(' ')
        try:
            said = self._do(word.lower(), rest.strip(), line.strip())
        except (ValueError, KeyError, OSError) as error:
            return f'  {error.args[-1] if error.args else error}'
        return self.session.show() if said is None else said

    def _do(self, word: str, rest: str, line: str) -> str | None:
        """Returns what to show; None: the session."""
        session = self.session
        if word in ('', 'show'):
            return None
        if word in ('quit', 'exit', 'q'):
            self.ended = True
            return ''
        if word == 'help':
            return HELP
        if word == 'history':
            return '\n'.join(f'  {i}. {said}' for i, said in enumerate(session.history))
        if word == 'save':
            if not rest:
                raise ValueError('save where? give a file')
            session.save(Path(rest))
            return f'  saved in {rest}'
        if word == 'find':
            self.session = self._start(rest)
        elif word == 'undo':
            session.undo(int(rest) if rest else 1)
        elif word == 'no' and rest.lower().startswith(('later', 'earlier', 'sooner')):
            session.tell(line)
        elif word in ('yes', 'no'):
            numbers = [_number(part) for part in rest.replace(',', ' ').split()]
            (session.like if word == 'yes' else session.dislike)(*numbers)
        elif word in ('without', 'only'):
            videos = [int(v) if v.isdigit() else v for v in rest.replace(',', ' ').split()]
            (session.exclude if word == 'without' else session.keep)(*videos)
        else:
            session.tell(line)
        return None


def _number(text: str) -> int:
    if not text.lstrip('#').isdigit():
        raise ValueError(f'{text!r} is no number of a shown moment')
    return int(text.lstrip('#'))
