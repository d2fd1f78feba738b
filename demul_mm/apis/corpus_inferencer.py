"""Find moments anywhere in a corpus."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from demul_mm.apis.arguments import (
    Durations,
    Video,
    as_durations,
    as_sentences,
    as_videos,
    check_share,
)
from demul_mm.apis.loading import load_model, recipe_fingerprint
from demul_mm.apis.published import Pretrained
from demul_mm.apis.videos import Extractor, ListedVideos, VideoReader, describe_all, disk_cache
from demul_mm.datasets import MomentDataset
from demul_mm.datasets.base import in_test_mode
from demul_mm.index import MomentIndex
from demul_mm.registry import DATASETS, INDEXES, INFERENCERS
from demul_mm.retrieval import (
    BankEntries,
    CorpusAnswer,
    CorpusSearcher,
    DatasetVideos,
    EncodingCache,
    FeedbackWeights,
    SearchOptions,
    SearchSession,
    SessionOptions,
    VideoBank,
    encode_queries,
)
from demul_mm.retrieval.session import read_session
from demul_mm.structures.counts import check_count
from demul_mm.structures.nms import MomentNMS
from demul_mm.truncation import warn_cut


@INFERENCERS.register_module()
class CorpusInferencer(Pretrained):
    """Find the moments that sentences describe among all videos of a corpus.

    The index narrows the corpus down; the best videos are then fused with the query, which needs
    their features again: they are read from where the index's videos came from, encoded (about as
    long as it took when the index was built) and cached. With ``cache_dir``, encodings are kept on
    the disk too (133 kB for a video of 128 clips), from the building of the index on, and a search
    never encodes a video; mode 'fast' needs neither.

    Args:
        model: config file, or what was read from one.
        weights: checkpoint file; None: fresh weights, for tests.
        index: folder of an index that exists, or the opened index; None: call
            :meth:`build_index` first.
        videos: where the videos come from: None for the config's test data set, a data set, or a
            list of video files, feature files or ids (see :class:`MomentInferencer`).
        durations: seconds of each listed video; see :class:`MomentInferencer`.
        device: where the model runs; None: a GPU where there is one.
        extractor: see :class:`MomentInferencer`.
        cache_videos: encodings kept in memory, 260 kB each.
        cache_dir: folder of encodings on the disk; None for none; see :class:`MomentInferencer`.
        batch_size: videos encoded at once.
        num_workers: processes that read videos.

    Attributes:
        timings: seconds of each step of the last call.
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path | None = None,
        index: str | Path | MomentIndex | None = None,
        videos: Video | Sequence[Video] | MomentDataset | None = None,
        durations: Durations | None = None,
        device: str | torch.device | None = None,
        extractor: Extractor | None = None,
        cache_videos: int = 256,
        cache_dir: str | Path | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        if videos is None or isinstance(videos, MomentDataset):
            if durations is not None:
                raise ValueError('durations belong to a list of videos; a data set has its own')
        else:
            videos = as_videos(videos)
            durations = as_durations(durations, len(videos))
        check_count('batch_size', batch_size)
        check_count('num_workers', num_workers, least=0)
        self.model, self.config, self.fingerprint = load_model(model, weights, device)
        self.timings: dict[str, float] = {}
        self._source: tuple[Any, ...] = (videos, durations, extractor)
        self._cache = EncodingCache(
            self.fingerprint, cache_videos, disk_cache(cache_dir, extractor)
        )
        self._batches = (batch_size, num_workers)
        self._bank: VideoBank | None = None
        if index is not None and not isinstance(index, MomentIndex):
            index = MomentIndex.open(index, expected_fingerprint=self.fingerprint)
        self.index: MomentIndex | None = index

    @property
    def bank(self) -> VideoBank:
        """The corpus's videos; read when first asked for, so that mode 'fast' needs none."""
        if self._bank is None:
            videos, durations, extractor = self._source
            if videos is None or isinstance(videos, MomentDataset):
                source: Any = dataset_videos(self.config, videos)
            else:
                reader = VideoReader(self.config, self.model, extractor)
                source = _listed(reader, videos, durations)
            self._bank = VideoBank(self.model, source, self._cache, *self._batches)
        return self._bank

    def build_index(
        self,
        index: dict | None = None,
        levels: Sequence[int] | None = None,
        resume: bool = True,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> MomentIndex:
        """Encode all videos and build an index, which later calls search.

        A video that cannot be read is reported and left out.

        Args:
            index: config of the index, ``dict(type='FaissIndex', path=...)``.
            levels: levels of the pyramid that are indexed, finest 0; None for all.
            resume: go on where a killed run stopped.
            overwrite: replace an index that is there.
            progress: called with a number of videos as they pass.
        """
        entries, fingerprints = self.entries(levels)
        built: MomentIndex = INDEXES.build({**(index or dict(type='FaissIndex')), **fingerprints})
        built.build(entries, resume, overwrite, progress)
        self.index = built
        return built

    def entries(self, levels: Sequence[int] | None) -> tuple[BankEntries, dict[str, str]]:
        """What an index is built from, and its ``model_fingerprint`` and ``feature_fingerprint``.

        Args:
            levels: see :meth:`build_index`.
        """
        recipe = recipe_fingerprint(self.config.test_dataloader.dataset, levels)
        fingerprints = dict(model_fingerprint=self.fingerprint, feature_fingerprint=recipe)
        return BankEntries(self.bank, levels), fingerprints

    def __call__(
        self,
        queries: str | Sequence[str],
        *,
        transfer: float = 0.0,
        no_moment_threshold: float = 0.0,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Search.

        Queries given together share work.

        Args:
            transfer: weight of the semantic memory; 0 for none.
            no_moment_threshold: moments less probable than this are left out, and with them all
                that were not fused.
            options: settings of the search, see :class:`~demul_mm.retrieval.SearchOptions`:
                ``mode``, ``num_moments``, ``num_fused``, ``num_videos``, ``num_candidates``,
                ``per_video``, ``where``, ``index_options``. An unknown one raises TypeError.

        Returns:
            For each query a dict: ``query``, ``no_moment`` (none is left) and ``moments``, best
            first, each a dict of ``video_id``, ``start``, ``end`` (seconds), ``score``,
            ``probability`` and ``terms``; see :class:`~demul_mm.structures.Moment`.
        """
        sentences = as_sentences(queries)
        check_share('no_moment_threshold', no_moment_threshold)
        chosen = SearchOptions(**options)
        if no_moment_threshold and chosen.mode == 'fast':
            raise ValueError("mode 'fast' gives no probabilities: leave no_moment_threshold out")
        warn_cut(self.model.data_preprocessor.tokenizer, sentences, 'queries')
        searcher = self._searcher(chosen.mode)
        clock = time.perf_counter()
        encoded = encode_queries(self.model, sentences, transfer)
        clock = time.perf_counter() - clock
        answers, timings = searcher.search(encoded, chosen, sentences=sentences)
        self.timings = dict(encode_queries=clock, **timings)
        return [
            _as_dict(sentence, answer, no_moment_threshold)
            for sentence, answer in zip(sentences, answers)
        ]

    def session(
        self,
        query: str,
        *,
        transfer: float = 0.0,
        options: dict[str, Any] | None = None,
        weights: dict[str, float] | None = None,
    ) -> SearchSession:
        """Begin a search that takes feedback.

        Args:
            transfer: weight of the semantic memory; 0 for none.
            options: see :class:`~demul_mm.retrieval.SessionOptions`, as ``dict(mode='fast')``.
            weights: what feedback counts, see :class:`~demul_mm.retrieval.FeedbackWeights`.
        """
        (query,) = as_sentences([query], 'query')
        warn_cut(self.model.data_preprocessor.tokenizer, [query], 'queries')
        chosen = SessionOptions(**(options or {}))
        searcher = self._searcher(chosen.mode)
        return SearchSession(searcher, query, chosen, FeedbackWeights(**(weights or {})), transfer)

    def load_session(self, path: str | Path) -> SearchSession:
        """Go on with a session that was saved; one of mode 'fast' needs no features."""
        return SearchSession.load(path, self._searcher(read_session(path)['options']['mode']))

    def _searcher(self, mode: str) -> CorpusSearcher:
        if self.index is None:
            raise ValueError('there is no index: give one, or call build_index()')
        bank = None if mode == 'fast' else self.bank
        return CorpusSearcher(self.model, self.index, bank, MomentNMS())


def dataset_videos(config: Config, dataset: MomentDataset | None = None) -> DatasetVideos:
    """The videos of a data set; unless one is given, all of the config's test data set."""
    if dataset is None:
        dataset = DATASETS.build(in_test_mode(config.test_dataloader.dataset))
    return DatasetVideos(dataset)


def _listed(
    reader: VideoReader, videos: Sequence[Video], durations: Sequence[float | None]
) -> ListedVideos:
    specs = {}
    for video, spec in zip(videos, describe_all(reader, videos, durations)):
        if isinstance(spec, str):
            MMLogger.get_current_instance().warning(f'a video is left out: {spec}')
        elif spec.name in specs:
            raise ValueError(f'two videos are called {spec.name!r} (one is {video}): rename one')
        else:
            specs[spec.name] = spec
    if not specs:
        raise ValueError('no video was given that can be read')
    return ListedVideos(reader, specs)


def _as_dict(sentence: str, answer: CorpusAnswer, threshold: float) -> dict[str, Any]:
    moments = [
        asdict(moment)
        for moment in answer.moments
        if not threshold or (moment.probability or 0) >= threshold
    ]
    return dict(query=sentence, no_moment=not moments, moments=moments)
