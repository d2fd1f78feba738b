"""A head like CONQUER's over the best videos of XML's retrieval (Hou, Ngo and Chan, MM 2021)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import OwnVideoBatch, in_float32
from demul_mm.registry import MODELS
from projects.conquer.reader import BorderReader, StreamMixture, shared_log_softmax
from projects.xml.model import XML, BorderOutput, conv_encoder


class ReadClips(NamedTuple):
    """Of XML what finds the video, and what is read again of the few that are found."""

    whole: Tensor  # (V, T, D)
    border: Tensor  # (V, T, D)
    mask: Tensor  # (V, T)
    streams: Tensor  # (V, T, S, D)
    present: Tensor  # (V, T, S) where a stream has something


class ReadOutput(NamedTuple):
    """What XML says, and the videos as they will be read."""

    near: Tensor  # (Q, V)
    start: Tensor  # (Q, T)
    end: Tensor  # (Q, T)
    alike: Tensor  # (Q, T)
    streams: Tensor  # (V, T, S, D)
    present: Tensor  # (V, T, S)


@MODELS.register_module()
class Conquer(XML):
    """XML finds videos; the best of them are read with the query, and their clips compete.

    Args:
        language: as of XML.
        streams: as of XML; the query weighs them.
        dim: as of XML.
        num_negatives: wrong videos beside the right one in training, those of the batch that XML
            finds most like the query.
        shared_weight: weight of the loss of borders that compete over these videos.
        **kwargs: as of XML.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        dim: int = 256,
        num_negatives: int = 3,
        shared_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(language, streams, dim, **kwargs)
        dropout = kwargs.get('dropout', 0.1)
        self.dims = [stream['in_dim'] for stream in streams.values()]
        self.read_streams = nn.ModuleList(conv_encoder(d, dim, dropout) for d in self.dims)
        self.mixture = StreamMixture(dim, len(self.dims))
        self.reader = BorderReader(dim, dropout)
        self.num_negatives = num_negatives
        self.shared_weight = shared_weight

    def encode_clips(self, clips: Tensor, mask: Tensor) -> Any:  # ReadClips
        found = super().encode_clips(clips, mask)
        parts = clips.split(self.dims, -1)
        streams = [net(F.normalize(part, dim=-1)) for net, part in zip(self.read_streams, parts)]
        present = torch.stack([(part != 0).any(-1) & mask for part in parts], -1)
        return ReadClips(*found, torch.stack(streams, 2), present)

    def run(self, batch: OwnVideoBatch) -> Any:  # ReadOutput
        videos = self.encode_clips(batch.clips, batch.mask)
        query = self.encode_words(batch.text)
        return ReadOutput(*self.compare(query, videos, batch), videos.streams, videos.present)

    def read(
        self, text: Any, streams: Tensor, present: Tensor, mask: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits ``(Q, N, T)`` of start and end in the videos ``index (Q, N)``."""
        text = in_float32(text)
        pairs, number = index.flatten(), index.shape[1]
        query = self.encode_words(text).repeat_interleave(number, 0)
        words, word_mask = (
            field.repeat_interleave(number, 0) for field in (text.features, text.mask)
        )
        x = self.mixture(query, streams[pairs], present[pairs])
        found = self.reader(x, mask[pairs], words, word_mask)
        start, end = (logits.view(*index.shape, -1) for logits in found)
        return start, end

    def loss_by_feat(
        self, out: Any, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        losses = super().loss_by_feat(out, batch, spans, span_mask)
        owner = batch.owner[:, None]
        others = out.near.detach().scatter(1, owner, -torch.inf)
        wrong = others.topk(min(self.num_negatives, others.shape[1] - 1)).indices
        index = torch.cat([owner, wrong], 1)  # the right video first
        found = self.read(batch.text, out.streams, out.present, batch.mask, index)
        start, end = (shared_log_softmax(logits).flatten(1) for logits in found)
        shared = BorderOutput(out.near, start, end, out.alike)
        losses['loss_shared'] = self.shared_weight * self.border_loss(
            shared, batch.mask[batch.owner], spans, span_mask
        )
        return losses

    def competing(
        self, text: Any, streams: Tensor, present: Tensor, mask: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Moments of the videos ``index (Q, N)`` on one scale, pairs in its order."""
        found = self.read(text, streams, present, mask, index)
        start, end = (shared_log_softmax(logits).flatten(0, 1) for logits in found)
        return self.best_moments(start, end, mask[index.flatten()])

    def search_moments(
        self, text: Any, query: Tensor, videos: Any, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.competing(text, videos.streams, videos.present, videos.mask, index)

    def predict_by_feat(self, out: Any, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        spans, scores, mask = self.competing(
            batch.text, out.streams, out.present, batch.mask, batch.owner[:, None]
        )
        return spans, scores.exp(), mask
