"""Which videos a pipeline can load."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

MISSING = 'cannot be loaded'
MISFIT = 'have features of another length'


class Available(NamedTuple):
    """Which videos the loading steps of a pipeline can load.

    Attributes:
        faults: for each kind of fault the reason by video id; a video has one at most.
        absent: how many of the other videos lack each optional stream.
    """

    faults: dict[str, dict[str, str]]
    absent: Counter[str]

    def line(self, total: int, examples: int = 3) -> str:
        """All faults in one line: counts, and some reasons of each kind."""
        parts = []
        for kind, reasons in self.faults.items():
            shown = '; '.join(list(reasons.values())[:examples])
            dots = '; ...' if len(reasons) > examples else ''
            parts.append(f'{len(reasons):,} of {total:,} videos {kind} ({shown}{dots})')
        return ', '.join(parts)


def find_missing(steps: Sequence[Any], items: Sequence[dict]) -> Available:
    """Ask the loading steps of a pipeline what they have.

    A loading step has ``stream``. Where it can tell beforehand it also has ``lacks(item)``, the
    reason why it cannot load an item or None, and ``optional``, whether the item does without; and
    ``misfit(item)``, the reason why what it has is not of the item, or None.
    """
    loaders = [step for step in steps if hasattr(step, 'stream')]
    faults: dict[str, dict[str, str]] = {}
    absent: Counter[str] = Counter()
    for item in items:
        lacking = {s: why for s in loaders if hasattr(s, 'lacks') and (why := s.lacks(item))}
        needed = [why for step, why in lacking.items() if not step.optional]
        there = [step for step in loaders if step not in lacking and hasattr(step, 'misfit')]
        if needed or (lacking and len(lacking) == len(loaders)):
            kind, reasons = MISSING, needed or list(lacking.values())
        else:
            kind, reasons = MISFIT, [why for step in there if (why := step.misfit(item))]
            absent.update(step.stream for step in lacking)
        if reasons:
            faults.setdefault(kind, {})[item['video_id']] = reasons[0]
    return Available(faults, absent)
