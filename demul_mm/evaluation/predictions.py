"""Predictions as plain data: what every metric computes from and what ``--dump`` writes.

A metric keeps *entries*, one for each query, never tensors. The same entries are written to and
read from a predictions file, so a dump scored again gives the same numbers to the last digit.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from demul_mm.files import read_text, write_atomically
from demul_mm.structures import PhraseMap, is_length

FORMAT = 'demul_mm.predictions'
VERSION = 1
# What a sample may hold for each of its queries.
PREDICTED = ('pred_moments', 'pred_phrases', 'pred_corpus', 'pred_videos', 'pred_saliency')
PER_QUERY = ('query_ids', 'gt_spans', *PREDICTED)
REQUIRED_KEYS = ('query_id', 'video_id', 'duration', 'gt', 'pred')


class PhraseEntry(TypedDict):
    """A word of a query, from a model that was asked to explain itself."""

    text: str
    clips: list[float]  # how far the semantic logit of each clip of the video falls without it
    weights: list[float]  # for each row of pred, the mean of that over its clips


class PredictionEntry(TypedDict, total=False):
    """One query: the truth and what was predicted for it. Times in seconds."""

    query_id: str
    video_id: str
    query: str
    duration: float
    gt: list[list[float]]  # [[start, end], ...]: annotators or occurrences; empty: unknown
    pred: list[list[float]]  # [[start, end, score], ...], best first
    corpus: list[list[Any]]  # [[video_id, start, end, score], ...], best first
    videos: list[str]  # of the corpus, best first; without it those of `corpus`
    tags: list[str]
    terms: list[list[float]]  # for each row of pred, what each term of the joint score gave
    phrases: list[PhraseEntry]
    extent: float  # seconds that the clips of the phrases cover
    saliency: list[list[float]]  # of each clip of 2 s, what each annotator rates it
    pred_saliency: list[float]  # of each clip of 2 s


class PaddedMoments(NamedTuple):
    """Entries as arrays: float64 seconds, bool masks with True = valid."""

    pred: Tensor  # (Q, N, 2)
    pred_mask: Tensor  # (Q, N)
    gt: Tensor  # (Q, G, 2)
    gt_mask: Tensor  # (Q, G)
    duration: Tensor  # (Q,)


def plain_floats(values: Tensor | np.ndarray | Sequence) -> list:
    """Nested lists of Python floats, each the shortest decimal that names the number.

    A time of 24.3 s kept as float32 would come out as 24.299999237060547, and an IoU that is
    exactly a threshold would fall on either side of it. The shortest decimal is what the
    annotation file says.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (
            values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        ).numpy()
    array = np.asarray(values)
    if array.dtype == np.float32:
        return array.astype(str).astype(np.float64).tolist()
    return array.astype(np.float64).tolist()


def entries_from_sample(sample: Mapping[str, Any]) -> list[PredictionEntry]:
    """The entries of one video.

    Args:
        sample: ``MomentDataSample.to_dict()`` of a predicted sample. Besides its own fields it may
            hold ``pred_corpus``, for each query the rows ``[video_id, start, end, score]``,
            ``pred_videos``, for each query the ids of the best videos, ``pred_saliency``, for each
            query a score for each clip of 2 s, and
            ``meta['tags']``, words by which results are broken down, of all queries or from query
            id to a list of them, ``meta['query_types']``, query id to one such word, and
            ``meta['saliency']``, query id to what each annotator rates each clip of 2 s.

    Returns:
        One entry for each query, predictions sorted by score, equal scores by index.
    """
    queries, query_ids = sample['queries'], sample['query_ids']
    num_queries = len(queries)
    if sample.get('pred_moments') is None and sample.get('pred_corpus') is None:
        raise ValueError(
            f'video {sample["video_id"]!r} has neither pred_moments nor pred_corpus; metrics take '
            "the data samples that the model's mode='predict' returns"
        )
    given = {key: sample[key] for key in PER_QUERY if sample.get(key) is not None}
    for key, value in given.items():
        if len(value) != num_queries:
            raise ValueError(
                f'video {sample["video_id"]!r} has {num_queries} queries but {len(value)} in '
                f'{key!r}; give one for each query, empty where there is none'
            )
    meta = sample.get('meta') or {}
    tags = meta.get('tags')
    types, saliency = (_by_query(meta.get(key)) for key in ('query_types', 'saliency'))
    entries = []
    for q in range(num_queries):
        moments = sample['pred_moments'][q] if sample.get('pred_moments') else None
        entry = PredictionEntry(
            query_id=str(query_ids[q]),
            video_id=str(sample['video_id']),
            query=str(queries[q]),
            duration=plain_floats([sample['duration']])[0],
            gt=[] if sample.get('gt_spans') is None else plain_floats(sample['gt_spans'][q]),
            pred=[],
        )
        if moments is not None:
            entry['pred'], order = _pred_rows(moments)
            if 'terms' in moments:
                entry['terms'] = [[round(v, 4) for v in moments.terms[i].tolist()] for i in order]
            if 'pred_phrases' in given:
                extent = plain_floats([sample.get('extent', sample['duration'])])[0]
                spans = moments.spans[order] / extent
                entry['phrases'] = _phrases(sample['pred_phrases'][q], spans)
                entry['extent'] = extent
        if 'pred_corpus' in given:
            entry['corpus'] = [_corpus_row(row) for row in sample['pred_corpus'][q]]
        if 'pred_videos' in given:
            entry['videos'] = [str(video) for video in sample['pred_videos'][q]]
        if query_ids[q] in saliency:
            entry['saliency'] = saliency[query_ids[q]]
        if 'pred_saliency' in given:
            entry['pred_saliency'] = plain_floats(sample['pred_saliency'][q])
        if tags or types:
            own = tags.get(query_ids[q]) if isinstance(tags, Mapping) else tags
            entry['tags'] = [*_words(own), *_words(types.get(query_ids[q]))]
        entries.append(entry)
    return entries


def _by_query(value: Any) -> Mapping[str, Any]:
    """What a video's meta information says of its queries; nothing where it is about the video."""
    return value if isinstance(value, Mapping) else {}


def _words(value: Any) -> list[str]:
    """None, a word or a list of them as a list."""
    if value is None:
        return []
    return [str(word) for word in (value if isinstance(value, (list, tuple)) else [value])]


def _phrases(found: PhraseMap, spans: Tensor) -> list[PhraseEntry]:
    weights = found.within(spans).tolist()  # (K, M)
    return [
        PhraseEntry(
            text=text,
            clips=[round(value, 3) for value in row],
            weights=[round(value, 3) for value in weight],
        )
        for text, row, weight in zip(found.texts, found.clips.tolist(), weights)
    ]


def _pred_rows(moments: Any) -> tuple[list[list[float]], list[int]]:
    """Rows ``[start, end, score]``, best first, and the place that each had."""
    spans, scores = plain_floats(moments.spans), plain_floats(moments.scores)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])  # stable: ties keep their order
    return [[*spans[i], scores[i]] for i in order], order


def _corpus_row(row: Sequence[Any]) -> list[Any]:
    video_id, start, end, score = row
    return [str(video_id), float(start), float(end), float(score)]


def merge_entries(results: Iterable[Mapping[str, Any]]) -> list[PredictionEntry]:
    """Entries of all samples in the order of the data set, each query once.

    Samplers pad the last batch of some ranks with samples that others have too; these are told by
    ``sample_idx`` and query id, whatever the order in which ranks were gathered.

    Args:
        results: ``dict(sample_idx=int, entries=[...])`` of each processed sample.
    """
    merged: dict[str, PredictionEntry] = {}
    for result in sorted(results, key=lambda r: r['sample_idx']):
        for entry in result['entries']:
            merged.setdefault(entry['query_id'], entry)
    return list(merged.values())


def pad_spans(rows: Sequence[Sequence[Sequence[float]]]) -> tuple[Tensor, Tensor]:
    """Lists of spans of different lengths as ``(Q, N, 2)`` float64 and a mask ``(Q, N)``."""
    lengths = np.array([len(row) for row in rows], dtype=int)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    spans = np.zeros((*mask.shape, 2))
    times = (time for row in rows for span in row for time in (span[0], span[1]))
    spans[mask] = np.fromiter(times, dtype=np.float64).reshape(-1, 2)
    return torch.from_numpy(spans), torch.from_numpy(mask)


def pad_entries(entries: Sequence[PredictionEntry]) -> PaddedMoments:
    """Entries as padded arrays."""
    pred, pred_mask = pad_spans([entry['pred'] for entry in entries])
    gt, gt_mask = pad_spans([entry['gt'] for entry in entries])
    duration = torch.tensor([entry['duration'] for entry in entries], dtype=torch.float64)
    return PaddedMoments(pred, pred_mask, gt, gt_mask, duration)


def save_predictions(
    path: str | os.PathLike, entries: Sequence[PredictionEntry], meta: Mapping[str, Any]
) -> None:
    """Write a predictions file (JSON, one line for each query, atomically)."""
    head = json.dumps(
        {'format': FORMAT, 'version': VERSION, 'meta': dict(meta)}, ensure_ascii=False
    )
    lines = ',\n'.join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    write_atomically(path, f'{head[:-1]}, "predictions": [\n{lines}\n]}}\n')


def load_predictions(path: str | os.PathLike) -> tuple[dict[str, Any], list[PredictionEntry]]:
    """Read a predictions file.

    Returns:
        Its meta information and its entries.

    Raises:
        FileNotFoundError, ValueError: the file is absent, damaged, of another kind, or newer.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} does not exist; write it with tools/test.py --dump {path}')
    text = read_text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ValueError(f'{path} is not a whole JSON file ({error}); dump it again') from None
    if not isinstance(data, dict) or data.get('format') != FORMAT:
        raise ValueError(f"{path} is not a predictions file: its 'format' is not {FORMAT!r}")
    if data.get('version') != VERSION:
        raise ValueError(
            f'{path} has version {data.get("version")!r} of the predictions format; this program '
            f'reads version {VERSION}'
        )
    entries = data.get('predictions', [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: 'predictions' is no list of objects; dump it again")
    for i, entry in enumerate(entries):
        if problem := _fault(entry):
            raise ValueError(f'{path}: prediction {i} {problem}')
    return data.get('meta', {}), entries


def _fault(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with an entry of a file; None when nothing is."""
    missing = [key for key in REQUIRED_KEYS if key not in entry]
    if missing:
        return f'lacks {", ".join(missing)}'
    if not _is_number(entry['duration']) or not is_length(entry['duration']):
        return f'has duration {entry["duration"]!r}; give seconds above 0'
    for key, width in (('gt', 2), ('pred', 3)):
        rows = entry[key]
        if not (isinstance(rows, list) and all(_is_row(row, width) for row in rows)):
            return f'has {key} {rows!r}; give a list of lists of {width} numbers'
    for key in ('tags', 'videos'):
        names = entry.get(key, [])
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            return f'has {key} {names!r}; give a list of strings'
    return None


def _is_row(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width and all(map(_is_number, row))


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, float) or (whole and abs(value) <= sys.float_info.max)
