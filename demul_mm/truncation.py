"""Sentences that a tokenizer cuts."""

from collections.abc import Sequence
from typing import Any

from mmengine.logging import MMLogger


def warn_cut(tokenizer: Any, sentences: Sequence[str], name: str) -> None:
    """Say in one line how many sentences a tokenizer does not read to their end.

    Args:
        tokenizer: with ``cut(sentences)`` and ``max_length``; others read everything.
        name: what they are, for the message.
    """
    cut = tokenizer.cut(sentences) if hasattr(tokenizer, 'cut') else []
    if cut:
        MMLogger.get_current_instance().warning(
            f'{name}: {len(cut):,} of {len(sentences):,} are longer than the '
            f'{tokenizer.max_length} tokens that are read, and what comes after them has no effect '
            f'({cut[0][:80]!r}, ...); shorten them, or raise max_length of the tokenizer'
        )


def longer_than(most: int, sentences: Sequence[str], tokenizer: Any) -> list[str]:
    """The sentences that are more than ``most`` tokens for a tokenizer of ``transformers``."""
    # No token is shorter than a byte.
    long = [text for text in sentences if len(text.encode()) + 2 > most]
    ids = tokenizer(long, truncation=False, verbose=False)['input_ids'] if long else []
    return [text for text, row in zip(long, ids) if len(row) > most]
