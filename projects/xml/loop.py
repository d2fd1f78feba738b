"""Search of a corpus by comparing every query with every clip."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop
from torch.nn.utils.rnn import pad_sequence

from demul_mm.engine.ranks import of_all_ranks
from demul_mm.models.localizers.own_video import OwnVideoBatch, in_float32
from demul_mm.registry import LOOPS
from demul_mm.structures import MomentDataSample
from projects.xml.model import XML, CorpusClips


class CorpusLoop(TestLoop):
    """The frame of a test that finds every query of the split among all of its videos.

    Samples get ``pred_moments`` in the own video, ``pred_corpus`` and ``pred_videos``. Processes
    exchange what they keep of their videos, and each answers the queries of its share.
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
        """The samples of this rank; of their queries the best moments and likest videos by name."""

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


class VideoFacts(NamedTuple):
    """What an answer says of a video."""

    video_id: str
    extent: float  # seconds that the clip axis covers
    duration: float  # seconds


def facts_of(sample: MomentDataSample) -> VideoFacts:
    """Those of the video of a sample."""
    extent = sample.metainfo.get('extent', sample.duration)
    return VideoFacts(sample.video_id, extent, sample.duration)


@LOOPS.register_module()
class ExhaustiveTestLoop(CorpusLoop):
    """Find every query of the split among all of its videos, without an index.

    The likest videos of a query are searched for moments; a moment scores by the odds of its
    borders and, ``video_weight`` times, by the likeness of its video.

    Args:
        runner, dataloader, evaluator: as of mmengine's ``TestLoop``.
        num_videos: videos of each answer.
        num_searched: the likest of them are searched for moments; None: all.
        num_moments: moments of each answer.
        query_batch: queries that are answered together.
    """

    def __init__(
        self,
        runner: object,
        dataloader: object,
        evaluator: object,
        num_videos: int = 100,
        num_searched: int | None = None,
        num_moments: int = 100,
        query_batch: int = 8,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.num_videos = num_videos
        self.num_searched = num_searched
        self.num_moments = num_moments
        self.query_batch = query_batch

    def _answer(
        self, model: XML
    ) -> tuple[list[MomentDataSample], list[list[list]], list[list[str]]]:
        samples: list[MomentDataSample] = []
        rows: list[Any] = []
        texts = []
        for batch in self._batches(model, samples):
            encoded = in_float32(model.encode_clips(batch.clips, batch.mask))
            device, kind = batch.mask.device, type(encoded)
            # Cloned, or a row would take the whole batch with it to other processes.
            rows += zip(*([row.clone() for row in x.cpu()] for x in encoded))
            if batch.text is not None:
                texts.append(in_float32(batch.text))
        own = {int(s.sample_idx): (facts_of(s), row) for s, row in zip(samples, rows)}
        facts, rows = map(list, zip(*of_all_ranks(own).values()))
        fields = (pad_sequence(list(field), batch_first=True) for field in zip(*rows))
        videos = kind(*(field.to(device) for field in fields))
        moments: list[list[list]] = []
        names: list[list[str]] = []
        for text in texts:
            for start in range(0, len(text.mask), self.query_batch):
                part = slice(start, start + self.query_batch)
                found = self._search(
                    model, type(text)(*(field[part] for field in text)), videos, facts
                )
                moments += found[0]
                names += found[1]
        return samples, moments, names

    def _search(
        self, model: XML, text: Any, videos: CorpusClips, facts: list[VideoFacts]
    ) -> tuple[list[list[list]], list[list[str]]]:
        """Of each query: the best moments, and the likest videos by name."""
        query = model.encode_words(text)
        near, index = model.likeness(query, videos).topk(min(self.num_videos, len(videos.mask)))
        names = [[facts[v].video_id for v in row] for row in index.tolist()]
        near, index = near[:, : self.num_searched], index[:, : self.num_searched]
        pairs = index.flatten()
        spans, scores, valid, _ = model.nms(*model.search_moments(text, query, videos, index))
        scores = scores + model.video_weight * near.flatten()[:, None]
        seconds, limit = (
            torch.tensor(values, device=spans.device)[pairs][:, None, None]
            for values in ([each.extent for each in facts], [each.duration for each in facts])
        )
        spans = torch.minimum(spans * seconds, limit)
        kept = spans.shape[1]
        scores = scores.masked_fill(~valid, -torch.inf).view(len(query), -1)
        best, place = scores.topk(min(self.num_moments, scores.shape[1]))
        spans = spans.view(len(query), -1, 2)
        moments = []
        for q, (row, score) in enumerate(zip(place.tolist(), best.tolist())):
            times = spans[q].tolist()
            moments.append(
                [[names[q][p // kept], *times[p], s] for p, s in zip(row, score) if s > -torch.inf]
            )
        return moments, names
