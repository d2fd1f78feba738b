"""Which videos a pipeline can load."""

from collections import Counter
from collections.abc import Sequence
from typing import Any


def find_missing(steps: Sequence[Any], items: Sequence[dict]) -> tuple[dict[str, str], Counter]:
    """Ask the loading steps of a pipeline what they have.

    A loading step has ``stream``. Where it can tell beforehand it also has ``lacks(item)``, the
    reason why it cannot load an item or None, and ``optional``, whether the item does without.

    Args:
        steps: of the pipeline.
        items: of the data set.

    Returns:
        the reason for each video that cannot be loaded, because it lacks what it needs or has
        none of its optional streams; and how many of the others lack each optional stream.
    """
    loaders = [step for step in steps if hasattr(step, 'stream')]
    reasons: dict[str, str] = {}
    absent: Counter[str] = Counter()
    for item in items:
        lacking = [(s, why) for s in loaders if hasattr(s, 'lacks') and (why := s.lacks(item))]
        needed = [why for step, why in lacking if not step.optional]
        if needed or (lacking and len(lacking) == len(loaders)):
            reasons[item['video_id']] = needed[0] if needed else lacking[0][1]
        else:
            absent.update(step.stream for step, _ in lacking)
    return reasons, absent
