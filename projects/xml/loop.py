"""Search of a corpus by comparing every query with every clip."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from demul_mm.models.localizers.own_video import OwnVideoBatch, in_float32
from demul_mm.registry import LOOPS
from demul_mm.structures import MomentDataSample
from projects.xml.model import XML, CorpusClips


class CorpusLoop(TestLoop):
    """The frame of a test that finds every query of the split among all of its videos.

    Samples get ``pred_moments`` in the own video, ``pred_corpus`` and ``pred_videos``. One process.
    """

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Launch the test."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        model = (
            self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        )
        model.eval()
        samples, moments, videos = self._answer(model)
        done = 0
        for sample in samples:
            count = len(sample.queries)
            sample.set_field(moments[done : done + count], 'pred_corpus')
            sample.set_field(videos[done : done + count], 'pred_videos')
            done += count
        self.evaluator.process(data_samples=samples, data_batch=None)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    @abstractmethod
    def _answer(
        self, model: Any
    ) -> tuple[list[MomentDataSample], list[list[list]], list[list[str]]]:
        """All samples, and of each query the best moments and the likest videos by name."""

    def _batches(self, model: Any, samples: list[MomentDataSample]) -> Iterator[OwnVideoBatch]:
        """The split batch by batch; ``samples`` grows by those of each, with their moments."""
        for number, data in enumerate(self.dataloader):
            self.runner.call_hook('before_test_iter', batch_idx=number, data_batch=data)
            ready = model.data_preprocessor(data, False)
            yield model.make_batch(ready['inputs'], ready['data_samples'])
            samples += model.predict(ready['inputs'], ready['data_samples'])
            self.runner.call_hook(
                'after_test_iter', batch_idx=number, data_batch=data, outputs=samples
            )


@LOOPS.register_module()
class ExhaustiveTestLoop(CorpusLoop):
    """Find every query of the split among all of its videos, without an index.

    The likest videos of a query are searched for moments; a moment scores by the odds of its
    borders and, ``video_weight`` times, by the likeness of its video.

    Args:
        runner, dataloader, evaluator: as of mmengine's ``TestLoop``.
        num_videos: videos searched for each query.
        num_moments: moments of each answer.
        query_batch: queries that are answered together.
    """

    def __init__(
        self,
        runner: object,
        dataloader: object,
        evaluator: object,
        num_videos: int = 100,
        num_moments: int = 100,
        query_batch: int = 8,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.num_videos = num_videos
        self.num_moments = num_moments
        self.query_batch = query_batch

    def _answer(
        self, model: XML
    ) -> tuple[list[MomentDataSample], list[list[list]], list[list[str]]]:
        samples: list[MomentDataSample] = []
        rows: list[CorpusClips] = []
        texts = []
        for batch in self._batches(model, samples):
            encoded = in_float32(model.encode_clips(batch.clips, batch.mask))
            rows += [CorpusClips(*(field[v] for field in encoded)) for v in range(len(batch.mask))]
            if len(batch.owner):
                texts.append(model.encode_words(batch.text))
        videos = CorpusClips(*(pad_sequence(list(field), batch_first=True) for field in zip(*rows)))
        moments: list[list[list]] = []
        names: list[list[str]] = []
        for part in torch.cat(texts).split(self.query_batch):
            found = self._search(model, part, videos, samples)
            moments += found[0]
            names += found[1]
        return samples, moments, names

    def _search(
        self, model: XML, query: Tensor, videos: CorpusClips, samples: list[MomentDataSample]
    ) -> tuple[list[list[list]], list[list[str]]]:
        """Of each query ``(Q, D)``: the best moments, and the likest videos by name."""
        near, index = model.likeness(query, videos).topk(min(self.num_videos, len(videos.mask)))
        pairs = index.flatten()
        each = query.repeat_interleave(index.shape[1], 0)
        mask = videos.mask[pairs]
        spans, scores, valid = model.moments(*model.detect(each, videos.border[pairs], mask), mask)
        spans, scores, valid, _ = model.nms(spans, scores, valid)
        scores = scores + model.video_weight * near.flatten()[:, None]
        seconds = torch.tensor(
            [s.metainfo.get('extent', s.duration) for s in samples], device=spans.device
        )
        limit = torch.tensor([s.duration for s in samples], device=spans.device)
        spans = torch.minimum(spans * seconds[pairs][:, None, None], limit[pairs][:, None, None])
        names = [sample.video_id for sample in samples]
        kept = spans.shape[1]
        scores = scores.masked_fill(~valid, -torch.inf).view(len(query), -1)
        best, place = scores.topk(min(self.num_moments, scores.shape[1]))
        spans = spans.view(len(query), -1, 2)
        moments, likest = [], index.tolist()
        for q, (row, score) in enumerate(zip(place.tolist(), best.tolist())):
            times = spans[q].tolist()
            moments.append(
                [
                    [names[likest[q][p // kept]], *times[p], s]
                    for p, s in zip(row, score)
                    if s > -torch.inf
                ]
            )
        return moments, [[names[v] for v in row] for row in likest]
