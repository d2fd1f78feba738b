"""From lists of videos of any length to padded tensors on the model's device."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from demul_mm.device import to_device
from demul_mm.models.task_modules.tokenizer import TransformersTokenizer
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentDataSample


@MODELS.register_module()
class MomentDataPreprocessor(BaseDataPreprocessor):
    """Pad, mask, tokenise and move a batch, in one copy for each tensor of the batch.

    Args:
        tokenizer: config of the tokenizer.
        pad_divisor: the padded number of clips is a multiple of it; ``2 ** (levels - 1)`` of the
            pyramid.
    """

    def __init__(self, tokenizer: dict | None = None, pad_divisor: int = 32) -> None:
        super().__init__()
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
            all videos in order, ``hard_ids (H, L)``, ``hard_mask (H, L)`` for their false variants
            (None without any); and ``data_samples`` as given.

        Raises:
            ValueError: a video has no clip at all, or streams of different numbers of clips.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        longest = max(self._common_lengths(inputs, samples), default=0)
        streams = {k: self.pad(v, longest, k, samples) for k, v in inputs.items() if k != 'frames'}
        frames = inputs.get('frames')
        if frames is not None:
            frames = [to_device(rows, self.device) for rows in frames]
        out = dict(streams=streams, frames=frames)
        out.update(ids=None, word_mask=None, hard_ids=None, hard_mask=None)
        queries = [query for sample in samples or [] for query in sample.queries]
        if queries:
            out['ids'], out['word_mask'] = self.tokenize(queries)
        hard = [text for sample in samples or [] for text in sample.get('hard_queries', []) if text]
        if hard:
            out['hard_ids'], out['hard_mask'] = self.tokenize(hard)
        return dict(inputs=out, data_samples=samples)

    def tokenize(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask ``(Q, L)`` on the model's device."""
        ids, mask = self.tokenizer(sentences)
        return to_device(ids, self.device), to_device(mask, self.device)

    def pad(
        self,
        rows: Sequence[Tensor | None],
        longest: int,
        stream: str = 'visual',
        samples: Sequence[MomentDataSample] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pad one stream.

        Args:
            rows: ``(T_v, d)`` of each video; None where the video lacks the stream.
            longest: clips of the longest video, in any stream.
            samples: the videos' data samples, for messages.

        Returns:
            ``(V, T, d)`` float32 and mask ``(V, T)``; ``d`` is 0 where all videos lack the stream.
        """
        total = longest + -longest % self.pad_divisor
        present = [row for row in rows if row is not None]
        width = present[0].shape[1] if present else 0
        device = present[0].device if present else torch.device('cpu')
        pinned = device.type == 'cpu' and self.device.type == 'cuda'
        batch = torch.zeros(len(rows), total, width, device=device, pin_memory=pinned)
        for v, row in enumerate(rows):
            if row is None:
                continue
            if row.shape[1] != width:
                raise ValueError(
                    f'{_name(samples, v)} has {stream!r} features of {row.shape[1]} values, '
                    f'others of the batch have {width}: check the features'
                )
            batch[v, : len(row)] = row
        lengths = torch.tensor([0 if row is None else len(row) for row in rows])
        mask = torch.arange(total)[None] < lengths[:, None]
        return to_device(batch, self.device), to_device(mask, self.device)

    @staticmethod
    def _common_lengths(inputs: dict, samples: Sequence[MomentDataSample] | None) -> list[int]:
        """The clips of each video, which all of its streams share."""
        common = []
        for v, rows in enumerate(zip(*inputs.values())):
            lengths = {k: len(row) for k, row in zip(inputs, rows) if row is not None and len(row)}
            if not lengths:
                raise ValueError(
                    f'{_name(samples, v)} has no clip in any stream: check its features'
                )
            if len(set(lengths.values())) > 1:
                found = ' but '.join(f'{n} of {k!r}' for k, n in lengths.items())
                raise ValueError(
                    f'{_name(samples, v)} has {found.replace(" of", " clips of", 1)}: bring its '
                    'streams to one number of clips in the pipeline (ResampleClips)'
                )
            common.append(next(iter(lengths.values())))
        return common


def _name(samples: Sequence[MomentDataSample] | None, video: int) -> str:
    name = samples[video].metainfo.get('video_id') if samples else None
    return f'video {video} of the batch' if name is None else f'video {name!r}'
