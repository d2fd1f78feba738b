"""Stems of words: one form for all forms of a word."""

from functools import lru_cache

import snowballstemmer

UNSPACED = '\u3040-\u30ff\u3400-\u9fff'
"""Where no space divides words (Chinese, Japanese), each character counts as one; a range of re."""


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """Snowball's stem of an English word in lower case; those of others are much as they were."""
    # A stemmer of its own: one holds the word that it works on, and threads search side by side.
    return snowballstemmer.stemmer('english').stemWord(word)
