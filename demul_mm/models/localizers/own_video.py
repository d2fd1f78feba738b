"""The frame of other methods: models that answer each query in its own video."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.device import to_device
from demul_mm.models.localizers.base import MomentLocalizer, with_defaults
from demul_mm.models.localizers.pairs import own_pairs, pad_spans, require_queries, require_streams
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentDataSample


class OwnVideoBatch(NamedTuple):
    """``V`` videos and ``Q`` queries, each about one of them."""

    clips: Tensor  # (V, T, in_dim) features of all streams side by side
    mask: Tensor  # (V, T)
    text: Any  # what the model's language part makes of the queries: a named tuple, rows first
    owner: Tensor  # (Q,) int64, the video of each query
    extents: Tensor  # (V,) seconds that the clip axis of each video covers

    def rows(self, queries: slice) -> 'OwnVideoBatch':
        """The same videos with these queries alone."""
        text = type(self.text)(*(field[queries] for field in self.text))
        return self._replace(text=text, owner=self.owner[queries])


class OwnVideoLocalizer(MomentLocalizer):
    """A model that is asked about one video at a time, as most published methods are.

    A method writes :meth:`run`, :meth:`loss_by_feat` and :meth:`predict_by_feat`. Data, language
    model, precision, suppression and what the metrics read are the same for all.

    Args:
        language: config of the language part; called with ``ids (Q, L)`` and ``mask (Q, L)``, it
            returns a named tuple whose fields have a row for each query.
        streams: ``dict(in_dim=...)`` of each stream of features, by name; they are put side by
            side.
        test_cfg: ``nms``: config of the suppression; ``max_pairs``: queries that are answered at
            once.
        data_preprocessor: config of the data preprocessor.
        init_cfg: as in mmengine.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.language = MODELS.build(language)
        self.streams = tuple(streams)
        self.in_dim: int = sum(stream['in_dim'] for stream in streams.values())
        testing = with_defaults('test_cfg', test_cfg, nms=dict(type='MomentNMS'), max_pairs=256)
        self.nms = TASK_UTILS.build(testing['nms'])
        if not self.nms.of_probabilities:
            raise ValueError(
                f"test_cfg.nms is {testing['nms']['type']}, which reads DeMUL's joint scores; the "
                'scores of this method are of another kind: use MomentNMS or SoftNMS'
            )
        self.max_pairs = int(testing['max_pairs'])

    # -- what a method is ---------------------------------------------------------------------

    @abstractmethod
    def run(self, batch: OwnVideoBatch) -> Any:
        """What the model says of each query in its video: a named tuple of tensors."""

    @abstractmethod
    def loss_by_feat(
        self, out: Any, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        """Losses, in float32.

        Args:
            out: what :meth:`run` returned, in float32.
            batch: what it was given.
            spans: ``(Q, G, 2)`` true moments in [0, 1] of the clip axis.
            span_mask: ``(Q, G)``.
        """

    @abstractmethod
    def predict_by_feat(self, out: Any, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates of each query: ``spans (Q, K, 2)`` in [0, 1], ``scores``, ``mask (Q, K)``."""

    # -- what all of them share ---------------------------------------------------------------

    def raw(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> Any:
        """What :meth:`run` says of the batch."""
        return self.run(self.make_batch(inputs, data_samples))

    def make_batch(self, inputs: dict, samples: Sequence[MomentDataSample]) -> OwnVideoBatch:
        """Streams side by side, and the queries' text; None without any query."""
        streams, ids = inputs['streams'], inputs['ids']
        require_streams(streams, self.streams)
        mask = torch.stack([streams[name][1] for name in self.streams]).any(0)
        extents = [sample.metainfo.get('extent', sample.duration) for sample in samples]
        return OwnVideoBatch(
            clips=torch.cat([streams[name][0] for name in self.streams], -1),
            mask=mask,
            text=None if ids is None else self.language(ids, inputs['word_mask']),
            owner=own_pairs([len(sample.queries) for sample in samples], mask.device),
            extents=to_device(torch.tensor(extents), mask.device),
        )

    def loss(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of videos with their queries."""
        require_queries(inputs)
        batch = self.make_batch(inputs, data_samples)
        out = in_float32(self.run(batch))
        spans, span_mask = pad_spans(data_samples, batch.mask.device)
        with torch.autocast(batch.mask.device.type, enabled=False):
            return self.loss_by_feat(out, batch, spans, span_mask)

    def answer(self, inputs: dict, data_samples: Sequence[MomentDataSample]) -> list[InstanceData]:
        """The moments of each query in its own video, best first, in seconds."""
        batch = self.make_batch(inputs, data_samples)
        moments: list[InstanceData] = []
        for start in range(0, len(batch.owner), self.max_pairs):
            part = batch.rows(slice(start, start + self.max_pairs))
            moments += self.select(*self.predict_by_feat(in_float32(self.run(part)), part), part)
        limits = [sample.duration for sample in data_samples for _ in sample.queries]
        for found, limit in zip(moments, limits):
            found.spans = found.spans.clamp(max=limit)
        return moments

    def select(
        self, spans: Tensor, scores: Tensor, mask: Tensor, batch: OwnVideoBatch
    ) -> list[InstanceData]:
        """Suppress: the moments of each query, best first, in seconds of the clip axis."""
        spans, scores, valid, _ = self.nms(spans.float().clamp(0, 1), scores.float(), mask)
        spans = spans * batch.extents[batch.owner][:, None, None]
        columns = [column.cpu() for column in (spans, scores, valid)]
        return [InstanceData(spans=s[v], scores=p[v]) for s, p, v in zip(*columns)]


def in_float32(out: Any) -> Any:
    """The same named tuple, its floating fields in float32."""
    return type(out)(
        *(x.float() if isinstance(x, Tensor) and x.is_floating_point() else x for x in out)
    )


def unit_clips(clips: Tensor, mask: Tensor) -> Tensor:
    """Clips as unit vectors, zeros where ``mask (V, T)`` is False."""
    return F.normalize(clips, dim=-1) * mask[..., None]


def touched_clips(spans: Tensor, span_mask: Tensor, mask: Tensor) -> Tensor:
    """Clips whose middle lies within a true moment of their query.

    Args:
        spans: ``(Q, G, 2)`` in [0, 1] of the clip axis.
        span_mask: ``(Q, G)``.
        mask: ``(Q, T)`` valid clips.

    Returns:
        ``(Q, T)`` bool.
    """
    clip = torch.arange(mask.shape[1], device=mask.device) + 0.5
    middle = (clip / mask.sum(1, keepdim=True).clamp(min=1))[:, None]  # (Q, 1, T)
    within = (middle >= spans[..., :1]) & (middle <= spans[..., 1:]) & span_mask[..., None]
    return within.any(1) & mask
