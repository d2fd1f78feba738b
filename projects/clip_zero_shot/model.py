"""Moments from the likeness of frames and sentence alone, in a space that both share already."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer, unit_clips
from demul_mm.models.task_modules.tokenizer import check_sentences
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.zero_shot.image_text import ImageTextEncoder
from demul_mm.zero_shot.scorers import DEFAULT_SCORER, SCORERS


@TASK_UTILS.register_module()
class ImageTextSentences:
    """The text side of an image-text model; stands where a tokenizer does, before ``StoredTokens``.

    Args:
        name: folder, or name on huggingface.co, of the model that made the frames' features.
        offline: never download.
    """

    def __init__(self, name: str, offline: bool = False) -> None:
        self.encoder = ImageTextEncoder(name, device='cpu', offline=offline)

    def __call__(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """``Q`` sentences to their vectors ``(Q, 1, S)`` and mask ``(Q, 1)``."""
        check_sentences(sentences)
        vectors = torch.from_numpy(self.encoder.encode_texts(sentences))
        return vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool)


class Meaning(NamedTuple):
    """What ``Q`` sentences mean."""

    vector: Tensor  # (Q, S) of length one


@MODELS.register_module()
class SentenceVectors(nn.Module):
    """One unit vector for each sentence: the mean of its tokens.

    Args:
        lm: config of the token model.
    """

    def __init__(self, lm: dict) -> None:
        super().__init__()
        self.lm = MODELS.build(lm)

    def forward(self, ids: Tensor, mask: Tensor) -> Meaning:
        """``(Q, L)`` token ids, or tokens that are features already, and mask."""
        tokens = self.lm(ids, mask).float() * mask[..., None]
        return Meaning(F.normalize(tokens.sum(1), dim=-1))


class Curves(NamedTuple):
    """How well each clip of a query's video fits it."""

    likeness: Tensor  # (Q, T) cosine


@MODELS.register_module()
class ZeroShot(OwnVideoLocalizer):
    """Nothing is trained: a scorer reads moments from the curve of cosines.

    Args:
        language: config of :class:`SentenceVectors`.
        streams: see :class:`OwnVideoLocalizer`; one, of as many values as a sentence's vector.
        scorer: one of :data:`demul_mm.zero_shot.scorers.SCORERS`.
        test_cfg, data_preprocessor: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        scorer: str = DEFAULT_SCORER,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor)
        if scorer not in SCORERS:
            raise ValueError(f'there is no scorer {scorer!r}; allowed: {", ".join(SCORERS)}')
        if len(streams) != 1:
            raise ValueError(f'streams are {sorted(streams)}; give the one that meets sentences')
        self.scorer = SCORERS[scorer]

    def run(self, batch: OwnVideoBatch) -> Curves:
        clips = unit_clips(batch.clips, batch.mask)[batch.owner]  # (Q, T, S)
        if clips.shape[-1] != batch.text.vector.shape[-1]:
            raise ValueError(
                f'clips have {clips.shape[-1]} values and sentences '
                f'{batch.text.vector.shape[-1]}: both must come from one image-text model'
            )
        return Curves(torch.einsum('qs,qts->qt', batch.text.vector, clips))

    def loss_by_feat(
        self, out: Curves, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        raise ValueError('ZeroShot has nothing to train: test it with tools/test.py CONFIG')

    def predict_by_feat(self, out: Curves, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        clips = unit_clips(batch.clips, batch.mask).cpu().numpy()
        lengths = batch.mask.sum(1).tolist()
        spans, scores = [], []
        for curve, owner in zip(out.likeness.cpu().numpy(), batch.owner.tolist()):
            n = lengths[owner]
            found, rating = self.scorer(curve[:n], clips[owner, :n])
            spans.append(torch.from_numpy(found / n).float())
            scores.append(torch.from_numpy(rating).float())
        padded, ratings = (nn.utils.rnn.pad_sequence(x, batch_first=True) for x in (spans, scores))
        number = torch.tensor([len(row) for row in scores])
        mask = torch.arange(padded.shape[1]) < number[:, None]
        device = batch.mask.device
        return padded.to(device), ratings.to(device), mask.to(device)
