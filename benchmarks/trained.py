"""A trained model with an index of its videos, for the benchmarks that search with it."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from demul_mm.apis.corpus_inferencer import dataset_videos
from demul_mm.apis.loading import load_model
from demul_mm.cli import load_config
from demul_mm.datasets import MomentDataset
from demul_mm.datasets.base import in_test_mode
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import DATASETS, INDEXES
from demul_mm.retrieval import (
    BankEntries,
    CorpusSearcher,
    DatasetVideos,
    EncodingCache,
    VideoBank,
    VideoSource,
)
from demul_mm.structures.nms import MomentNMS


class Asked(NamedTuple):
    """A query of the test split with its truth."""

    query_id: str
    text: str
    video_id: str
    spans: list[list[float]]  # seconds


class Trained(NamedTuple):
    """A model and a corpus to search."""

    model: DeMUL
    searcher: CorpusSearcher
    queries: list[Asked]
    captions: dict[str, list[tuple[str, list[float]]]]  # of each video: sentence, span


class JoinedVideos:
    """The videos of several sources, one source after another.

    Args:
        sources: without a video in common.
    """

    def __init__(self, sources: Sequence[DatasetVideos]) -> None:
        self._owner: dict[str, VideoSource] = {i: s for s in sources for i in s.ids()}

    def ids(self) -> list[str]:
        return list(self._owner)

    def load(self, video_id: str) -> dict:
        return self._owner[video_id].load(video_id)

    def key(self, video_id: str) -> str:
        return self._owner[video_id].key(video_id)


def load_trained(args: argparse.Namespace) -> Trained:
    """Load the model of :mod:`trained_arguments`, encode every video once and index them."""
    config = load_config(args.config, args.cfg_options)
    loaded = load_model(config, args.checkpoint, args.device)
    given = in_test_mode(config.test_dataloader.dataset)
    test = DATASETS.build(given)
    datasets = [test]
    if args.with_train:
        train = config.train_dataloader.dataset
        given.update(ann_file=train.ann_file, split=train.split, data_root=train.data_root)
        datasets.append(DATASETS.build(given))
    source = JoinedVideos([dataset_videos(config, dataset) for dataset in datasets])
    cache = EncodingCache(loaded.fingerprint, max_videos=len(source.ids()))
    bank = VideoBank(loaded.model, source, cache)
    index = INDEXES.build(dict(type='ExactIndex', level2='fp16'))
    with tqdm(total=len(source.ids()), desc='encoding', leave=False) as bar:
        index.build(BankEntries(bank), progress=bar.update)
    queries = [asked for info in _infos(test) for asked in _queries(info)]
    chosen = np.random.default_rng(args.seed).permutation(len(queries))[: args.queries]
    captions = {
        str(info['video_id']): [(q.text, q.spans[0]) for q in _queries(info)]
        for dataset in datasets
        for info in _infos(dataset)
    }
    searcher = CorpusSearcher(loaded.model, index, bank, MomentNMS())
    return Trained(loaded.model, searcher, [queries[i] for i in sorted(chosen)], captions)


def _infos(dataset: MomentDataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def _queries(info: dict) -> list[Asked]:
    rows = zip(info['query_ids'], info['queries'], info['gt_spans'])
    return [
        Asked(str(query_id), text, str(info['video_id']), np.asarray(spans).tolist())
        for query_id, text, spans in rows
        if len(spans)
    ]
