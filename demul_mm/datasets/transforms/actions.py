"""More queries from labelled actions."""

from collections import defaultdict

import numpy as np
from mmengine.dataset import BaseDataset

from demul_mm.datasets.transforms.random import rng_of
from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS

# Seconds between a query's moment and the action it was written for: the files round to tenths.
TOLERANCE = 0.1


@TRANSFORMS.register_module()
class ActionQueries(Step):
    """Ask for actions of a video that no query is about, in the words of other videos' queries.

    The moments of Charades-STA are actions of Charades (Sigurdsson et al., ECCV 2016), of which
    only some have a sentence: about three in four have none. A query whose moment is one action
    alone says what that class of actions is called; one of these sentences, by chance, is asked for
    an action of the class without one. All sentences are those of the data set that the pipeline
    belongs to, so that nothing is learnt from videos outside it. Put it before the steps that
    change time or queries.

    Required keys: ``queries``, ``query_ids``, ``gt_spans``, ``duration``, ``meta`` with ``actions``
    (``CharadesSTADataset``). Modified keys: the first three.

    Args:
        max_queries: at most so many are added to a video, chosen by chance; at least 1.
    """

    def __init__(self, max_queries: int) -> None:
        if max_queries < 1:
            raise ValueError(f'max_queries={max_queries}: give at least 1')
        self.max_queries = max_queries
        self._sentences: dict[str, list[str]] | None = None

    def attach(self, dataset: BaseDataset) -> None:
        """Learn from all videos of the data set what each class of actions is called."""
        sentences: dict[str, list[str]] = defaultdict(list)
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            names, spans = _actions(info)
            for text, moments in zip(info['queries'], info['gt_spans']):
                found = {names[i] for i in np.flatnonzero(_same(spans, moments).any(1))}
                if len(found) == 1:
                    sentences[found.pop()].append(text)
        self._sentences = dict(sentences)

    def transform(self, results: dict) -> dict:
        if self._sentences is None:
            raise ValueError(
                'ActionQueries knows no sentences: put it into the pipeline of a data set '
                '(MomentDataset shows itself to its steps by attach)'
            )
        names, spans = _actions(results)
        asked = np.concatenate([np.zeros((0, 2)), *results['gt_spans']])
        free = [
            i
            for i in np.flatnonzero(~_same(spans, asked).any(1))
            if names[i] in self._sentences and spans[i, 1] > spans[i, 0]
        ]
        rng = rng_of(results)
        chosen = rng.permutation(free)[: self.max_queries].astype(int)
        texts = [str(rng.choice(self._sentences[names[i]])) for i in chosen]
        ids = [f'{results["video_id"]}#action{i}' for i in chosen]
        return {
            **results,
            'queries': [*results['queries'], *texts],
            'query_ids': [*results['query_ids'], *ids],
            'gt_spans': [*results['gt_spans'], *(spans[i : i + 1] for i in chosen)],
        }


def _actions(info: dict) -> tuple[list[str], np.ndarray]:
    """Classes, and spans (n, 2) within the video in seconds."""
    try:
        actions = info['meta']['actions']
    except KeyError:
        raise ValueError(
            f'video {info["video_id"]!r} has no labelled actions, which ActionQueries asks for; '
            "they are in the csv of Charades, CharadesSTADataset's info_file"
        ) from None
    spans = np.array([action[1:] for action in actions], dtype=np.float64).reshape(-1, 2)
    return [action[0] for action in actions], spans.clip(0.0, info['duration'])


def _same(spans: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of ``spans`` (n, 2) and ``others`` (m, 2) are the same moment, (n, m)."""
    return (np.abs(spans[:, None] - others[None]) <= TOLERANCE).all(-1)
