"""Test retrieval from the corpus of all videos of a split."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader

from demul_mm.engine.models import unwrapped
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.index import MomentIndex, VideoEntry
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import INDEXES, LOOPS
from demul_mm.retrieval import (
    CorpusAnswer,
    CorpusSearcher,
    EncodedVideo,
    SearchOptions,
    encode_batch,
    encode_queries,
    localize_pairs,
    make_entry,
)
from demul_mm.structures import MomentDataSample, QueryEncoding
from demul_mm.structures.nms import MomentNMS


@LOOPS.register_module()
class CorpusTestLoop(TestLoop):
    """Find every query of the split in the corpus of all of its videos.

    1. Each video is encoded once; ranks share the work and exchange the encodings. All of them
       are kept in memory: 260 kB for a video of 128 clips on 6 levels of width 128.
    2. Their moments go into an index.
    3. The index finds videos for each query, the best of them are fused, and the moments of all
       are ranked on one scale; videos that were not fused follow in the order of the index.
       Each rank answers the queries of its share.

    The samples that the evaluator sees have ``pred_corpus`` (for VCMR), ``pred_videos`` (for VR)
    and ``pred_moments``, the moments in the right video alone (for SVMR). Beside the metrics,
    ``recall/level1``, ``recall/level2`` and ``recall/fused`` say in percent for how many queries
    the right video was still there after each step.

    Args:
        runner: the runner.
        dataloader: reads the test split, without shuffling.
        evaluator: the metrics.
        index: config of the index; with a ``path`` it is kept (and replaced by the next test).
        levels: levels of the pyramid that are indexed, finest 0; None for all.
        mode: 'fast', 'full' or 'exact'; see :class:`~demul_mm.retrieval.SearchOptions`.
        num_moments: moments of each answer, and videos.
        num_fused: videos fused for each query.
        num_videos: videos that level 2 lets through.
        num_candidates: videos that level 1 hands to level 2; None: eight times ``num_videos``, or
            ``num_videos`` where the index is exact and more would change nothing.
        per_video: moments of one video in an answer, at most; None: as many as the model's
            suppression leaves.
        transfer: weight of the semantic memory, in the right video alone, too; 0 for none, as in
            mmengine's ``TestLoop``.
        query_batch: queries that are searched together.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        index: dict | None = None,
        levels: Sequence[int] | None = None,
        mode: str = 'full',
        num_moments: int = 100,
        num_fused: int = 20,
        num_videos: int = 200,
        num_candidates: int | None = None,
        per_video: int | None = None,
        transfer: float = 0.0,
        query_batch: int = 64,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.index_config = dict(index or dict(type='ExactIndex', level2='fp16'))
        if num_candidates is None and str(self.index_config['type']).endswith('ExactIndex'):
            num_candidates = num_videos
        self.levels = levels
        self.search_options = SearchOptions(
            mode=mode,
            num_moments=num_moments,
            num_fused=num_fused,
            num_videos=num_videos,
            num_candidates=num_candidates,
            per_video=per_video,
        )
        self.num_answers = num_moments
        self.transfer = transfer
        self.query_batch = query_batch
        if num_videos < num_fused:
            raise ValueError(
                f'num_fused is {num_fused}, but level 2 lets only num_videos={num_videos} through'
            )

    @property
    def model(self) -> DeMUL:
        """The model, without the wrapper of a distributed run."""
        return unwrapped(self.runner.model)

    def run(self) -> dict[str, float]:
        """Launch the test."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        clock = [time.perf_counter()]
        own, samples = self._encode()
        videos = exchange(own)
        clock.append(time.perf_counter())
        index = self._build_index(videos)
        clock.append(time.perf_counter())
        kept = self._search(index, videos, samples)
        clock.append(time.perf_counter())
        encode, build, search = (b - a for a, b in pairwise(clock))
        self.runner.logger.info(
            f'corpus of {len(videos)} videos: encoded in {encode:.1f} s, indexed in {build:.1f} s, '
            f'{len(kept)} queries answered on this rank in {search:.1f} s'
        )
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        metrics.update(step_recall(kept))
        if self.search_options.mode == 'fast':
            metrics.pop('recall/fused', None)
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _encode(self) -> tuple[dict[int, EncodedVideo], list[MomentDataSample]]:
        """This rank's videos by their place in the data set, and their samples."""
        videos: dict[int, EncodedVideo] = {}
        samples = []
        for number, batch in enumerate(self.dataloader):
            self.runner.call_hook('before_test_iter', batch_idx=number, data_batch=batch)
            encoded = encode_batch(self.model, batch)
            for sample, video in zip(batch['data_samples'], encoded):
                if int(sample.sample_idx) not in videos:  # a sampler may repeat some at the end
                    videos[int(sample.sample_idx)] = video
                    samples.append(sample)
            self.runner.call_hook(
                'after_test_iter',
                batch_idx=number,
                data_batch=batch,
                outputs=batch['data_samples'],
            )
        return videos, samples

    def _build_index(self, videos: Mapping[str, EncodedVideo]) -> MomentIndex:
        levels = self.model.points.num_levels
        entries = (make_entry(video, levels, self.levels) for video in videos.values())
        return build_index(self.index_config, entries)

    def _search(
        self,
        index: MomentIndex,
        videos: Mapping[str, EncodedVideo],
        samples: Sequence[MomentDataSample],
    ) -> dict[str, tuple[bool, ...]]:
        """Answer the queries of this rank.

        Returns:
            By query id, whether the right video was there after each step.
        """
        searcher = CorpusSearcher(
            self.model, index, lambda ids: {i: videos[i] for i in ids}, MomentNMS()
        )
        kept: dict[str, tuple[bool, ...]] = {}
        for sample in samples:
            sample.pred_corpus, sample.pred_videos, sample.pred_moments = [], [], []
        for block in self._blocks(samples):
            sentences = [sample.queries[q] for sample, q in block]
            queries = encode_queries(self.model, sentences, self.transfer)
            answers, _ = searcher.search(
                queries, self.search_options, keep_candidates=True, sentences=sentences
            )
            owners = [videos[str(sample.video_id)] for sample, _ in block]
            self._locate_own(queries, block, owners)
            for (sample, q), answer in zip(block, answers):
                rows = [[m.video_id, m.start, m.end, m.score] for m in answer.moments]
                sample.pred_corpus = [*sample.pred_corpus, rows]
                sample.pred_videos = [*sample.pred_videos, answer.videos[: self.num_answers]]
                kept[str(sample.query_ids[q])] = _survived(answer, str(sample.video_id))
        for sample in samples:
            self.evaluator.process(data_samples=[sample], data_batch=None)
        return kept

    def _blocks(
        self, samples: Sequence[MomentDataSample]
    ) -> Iterator[list[tuple[MomentDataSample, int]]]:
        """The queries of all samples, ``query_batch`` at a time, with a line now and then."""
        pairs = [(sample, q) for sample in samples for q in range(len(sample.queries))]
        said = time.monotonic()
        for start in range(0, len(pairs), self.query_batch):
            yield pairs[start : start + self.query_batch]
            if time.monotonic() - said > 20:
                said = time.monotonic()
                done = min(start + self.query_batch, len(pairs))
                self.runner.logger.info(f'searched {done} of {len(pairs)} queries')

    def _locate_own(
        self,
        queries: QueryEncoding,
        block: Sequence[tuple[MomentDataSample, int]],
        owners: Sequence[EncodedVideo],
    ) -> None:
        """Fill ``pred_moments``: each query in its own video alone."""
        found = localize_pairs(self.model, owners, queries, [[i] for i in range(len(block))])
        for (sample, _), (moments,) in zip(block, found):
            sample.pred_moments = [*sample.pred_moments, moments]


def build_index(config: Mapping[str, Any], entries: Iterable[VideoEntry]) -> MomentIndex:
    """A temporary index on each rank, or one on the disk made by the first of them.

    Args:
        config: of the index; with a ``path`` it is kept, in place of what was there.
        entries: all videos, the same on all ranks.
    """
    if config.get('path') is None or is_main_process():
        index = INDEXES.build(config)
        index.build(entries, resume=False, overwrite=True)
    barrier()
    if config.get('path') is not None and not is_main_process():
        index = MomentIndex.open(config['path'])
    return index


def exchange(own: Mapping[int, EncodedVideo]) -> dict[str, EncodedVideo]:
    """The videos of all ranks by id, in the order of the data set whatever the ranks."""
    return {video.video_id: video for video in of_all_ranks(own).values()}


def _survived(answer: CorpusAnswer, video_id: str) -> tuple[bool, bool, bool]:
    hits = answer.hits
    return video_id in (hits.candidate_ids or ()), video_id in hits.videos, video_id in answer.fused


def step_recall(kept: Mapping[str, tuple[bool, ...]]) -> dict[str, float]:
    """Share of queries, over all ranks and in percent, whose video was there after each step."""
    merged = of_all_ranks(kept)
    if not merged:
        return {}
    share = torch.tensor(list(merged.values())).double().mean(0) * 100
    return {f'recall/{step}': v for step, v in zip(('level1', 'level2', 'fused'), share.tolist())}
