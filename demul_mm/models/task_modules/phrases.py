"""Which words make up a phrase, and which clips they are like."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from demul_mm.models.task_modules.tokenizer import TransformersTokenizer
from demul_mm.models.task_modules.word_tokenizer import WordTokenizer
from demul_mm.structures import PhraseMap, QueryEncoding

WORD = re.compile(r"\w+(?:[-'’]\w+)*")


def phrase_map(tokenizer: object, sentence: str, query: QueryEncoding, clips: Tensor) -> PhraseMap:
    """Explain one query in one video.

    Args:
        tokenizer: of the data preprocessor.
        sentence: as it was given.
        query: its encoding, one row.
        clips: ``(K, T)`` how much each clip of the video is like each phrase.
    """
    places = token_places(tokenizer, sentence, int(query.word_mask[0].sum()))
    words = query.phrase_attention[0, :, : len(places)].float().cpu()
    return PhraseMap(phrase_texts(sentence, places, words), words, clips.float().cpu())


def token_places(tokenizer: object, sentence: str, number: int) -> list[tuple[int, int]]:
    """Where each of ``number`` tokens lies in the sentence, in characters; (0, 0) for nowhere."""
    if isinstance(tokenizer, TransformersTokenizer):
        coded = tokenizer.tokenizer(
            sentence,
            truncation=True,
            max_length=tokenizer.max_length,
            return_offsets_mapping=True,
        )
        return [tuple(place) for place in coded['offset_mapping']]
    if isinstance(tokenizer, WordTokenizer):
        return tokenizer.places(sentence)
    places, end = [], 0
    for word in sentence.split():
        start = sentence.index(word, end)
        end = start + len(word)
        places.append((start, end))
    return places if len(places) == number else [(0, 0)] * number


def phrase_texts(
    sentence: str, places: Sequence[tuple[int, int]], attention: Tensor, share: float = 0.5
) -> list[str]:
    """The words behind each phrase. A word of several tokens counts with the most attended one.

    Args:
        sentence: as it was given.
        places: of its tokens, from :func:`token_places`.
        attention: ``(K, L)`` of the phrases over the tokens.
        share: words count that get at least this share of the most attended word's attention.

    Returns:
        ``K`` texts, the words in their order, with ``...`` where some are left out.
    """
    tokens: dict[tuple[int, int], list[int]] = {}  # of each word; punctuation is none
    for word in WORD.finditer(sentence):
        inside = [i for i, (start, end) in enumerate(places) if _overlap((start, end), word.span())]
        if inside:
            tokens[word.span()] = inside
    if not tokens:
        return [''] * len(attention)
    own = torch.stack([attention[:, inside].amax(1) for inside in tokens.values()], 1)
    words = list(tokens)
    return [
        _joined(sentence, [words[i] for i, chosen in enumerate(row) if chosen])
        for row in (own >= share * own.amax(1, keepdim=True)).tolist()
    ]


def _overlap(one: tuple[int, int], two: tuple[int, int]) -> bool:
    return one[0] < two[1] and two[0] < one[1]


def _joined(sentence: str, words: Sequence[tuple[int, int]]) -> str:
    """Words at these places, with dots where others stand between them."""
    text, last = '', None
    for start, end in words:
        if last is not None:
            between = sentence[last:start]
            text += ' ... ' if WORD.search(between) else between
        text += sentence[start:end]
        last = end
    return text
