"""From lists of videos of any length to padded tensors on the model's device."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from demul_mm.models.task_modules.tokenizer import TransformersTokenizer
from demul_mm.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class MomentDataPreprocessor(BaseDataPreprocessor):
    """Pad, mask, tokenise and move a batch.

    Args:
        tokenizer: config of the tokenizer.
        pad_divisor: the padded number of clips is a multiple of it; ``2 ** (levels - 1)`` of the
            pyramid.
        non_blocking: of the copy to the device.
    """

    def __init__(
        self, tokenizer: dict | None = None, pad_divisor: int = 32, non_blocking: bool = True
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        self.tokenizer: TransformersTokenizer = TASK_UTILS.build(
            tokenizer or dict(type='TransformersTokenizer')
        )
        self.pad_divisor = pad_divisor

    def forward(self, data: dict, training: bool = False) -> dict:
        """Collated lists to tensors.

        Args:
            data: ``inputs`` ``{stream: [(T_v, d) or None, ...]}`` (``frames``:
                ``(T_v, 3, t, H, W)``) and ``data_samples``.
            training: not used; the output does not depend on it.

        Returns:
            ``inputs``: ``streams`` ``{name: ((V, T, d), (V, T) mask)}``, ``frames``
            ``[(T_v, 3, t, H, W)] | None``, ``ids (Q, L)``, ``word_mask (Q, L)`` for the queries of
            all videos in order; and ``data_samples`` as given.
        """
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data.get('data_samples')
        streams = {k: self.pad(v) for k, v in inputs.items() if k != 'frames'}
        out = dict(streams=streams, frames=inputs.get('frames'), ids=None, word_mask=None)
        queries = [query for sample in samples or [] for query in sample.queries]
        if queries:
            out['ids'], out['word_mask'] = self.tokenize(queries)
        return dict(inputs=out, data_samples=samples)

    def tokenize(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask ``(Q, L)`` on the model's device."""
        ids, mask = self.tokenizer(sentences)
        return (
            ids.to(self.device, non_blocking=self._non_blocking),
            mask.to(self.device, non_blocking=self._non_blocking),
        )

    def pad(self, rows: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Rows ``(T_v, d)`` to ``(V, T, d)`` and mask ``(V, T)``; None is a missing stream."""
        lengths = [0 if row is None else len(row) for row in rows]
        if not any(lengths):
            raise ValueError('no video of the batch has any clip: check its features')
        first = next(row for row in rows if row is not None)
        total = max(lengths) + -max(lengths) % self.pad_divisor
        batch = first.new_zeros((len(rows), total, first.shape[1]), dtype=torch.float32)
        for i, row in enumerate(rows):
            if row is not None:
                batch[i, : len(row)] = row
        length = torch.tensor(lengths, device=batch.device)
        return batch, torch.arange(total, device=batch.device)[None] < length[:, None]
