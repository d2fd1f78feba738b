"""Which words make up a phrase, and which clips they are like."""

from collections.abc import Sequence

import torch
from torch import Tensor

from demul_mm.models.task_modules import TransformersTokenizer, WordTokenizer


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
    """The words behind each phrase.

    Args:
        sentence: as it was given.
        places: of its tokens, from :func:`token_places`.
        attention: ``(K, L)`` of the phrases over the tokens.
        share: words count that get at least this share of the most attended word's attention.

    Returns:
        ``K`` texts, the words in their order, with ``...`` where some are left out.
    """
    words = [i for i, (start, end) in enumerate(places) if end > start]
    if not words:
        return [''] * len(attention)
    own = attention[:, words]  # special tokens aside
    texts = []
    for row in (own >= share * own.amax(1, keepdim=True)).tolist():
        chosen = [places[words[i]] for i, inside in enumerate(row) if inside]
        text, last = '', None
        for start, end in chosen:
            if last is not None:
                between = sentence[last:start]
                text += between if not between.strip() else ' ... '
            text += sentence[start:end]
            last = end
        texts.append(text)
    return texts


def phrase_clips(phrases: Tensor, cells: Tensor, num_clips: int) -> Tensor:
    """How much each clip looks like each phrase, in the space they share.

    Args:
        phrases: ``(K, S)`` unit vectors.
        cells: ``(M, S)`` unit vectors of the pyramid, finest level first.
        num_clips: of the video.

    Returns:
        ``(K, num_clips)`` cosines.
    """
    return torch.einsum('ks,ts->kt', phrases.float(), cells[:num_clips].float())
