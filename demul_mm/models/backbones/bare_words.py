"""Which words a text has, whatever they mean together."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.backbones.language_model import load_quietly
from demul_mm.models.task_modules.tokenizer import resolve_language_model
from demul_mm.registry import MODELS

FIRST, COMMON = 1996, 2100
"""BERT's English pieces are numbered from ``the``, the most frequent; up to ``COMMON`` they say
nothing of a text."""


@MODELS.register_module()
class BareWords(nn.Module):
    """The words of a text as a language model knows them before it reads on, rare ones louder.

    The mean over a text is what TF-IDF is made of, in few dimensions and with like words alike:
    onion and onions meet. What a rare word weighs follows from its place in BERT's vocabulary,
    which is sorted by frequency: by Zipf's law a frequency is one over its rank, so the logarithm
    of the rank stands for that of the inverse document frequency (Sparck Jones, 1972).

    Args:
        name: as in ``TransformersLM``, a model with the vocabulary of ``bert-base-uncased``.
    """

    table: Tensor

    def __init__(self, name: str = 'minilm') -> None:
        super().__init__()
        lm = load_quietly(resolve_language_model(name))
        if lm.config.vocab_size != 30522:
            raise ValueError(
                f'{name!r} has {lm.config.vocab_size:,} word pieces; BareWords reads the 30,522 of '
                'bert-base-uncased, which are sorted by frequency'
            )
        table = cast(nn.Embedding, lm.get_input_embeddings()).weight.detach().float()
        rank = torch.arange(len(table)) - FIRST
        rarity = (rank.clamp(min=1).log() - torch.tensor(COMMON - FIRST).log()).clamp(min=0)
        unit = F.normalize(table - table.mean(0), dim=-1)
        self.register_buffer('table', unit * rarity[:, None], persistent=False)

    @property
    def out_dim(self) -> int:
        """Values a word."""
        return self.table.shape[1]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids ``(Q, L)`` and ``mask (Q, L)`` to ``(Q, L, out_dim)``, zeros outside of it."""
        return self.table[ids] * mask[..., None]
