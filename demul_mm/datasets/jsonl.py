"""One's own data: one video a line."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, Cleaner, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, parse_json_line, read_jsonl, read_lines
from demul_mm.registry import DATASETS

VIDEO_KEYS = {'video_id', 'duration', 'video', 'queries', 'meta', 'subtitles'}
QUERY_KEYS = {'query_id', 'query', 'spans'}


@DATASETS.register_module()
class JsonlMomentDataset(MomentDataset):
    """One's own data, one JSON object a line, one line a video::

        {"video_id": "kitchen_03", "duration": 61.2, "video": "kitchen_03.mp4",
         "queries": [{"query_id": "k3-0", "query": "she opens the oven", "spans": [[3.5, 9.0]]}],
         "meta": {"camera": "top"}}

    Times are seconds. Optional: ``video`` (file name relative to ``data_prefix['video']``; needed
    only to decode frames), ``meta``, ``query_id`` (by default ``<video_id>#<index>``), and
    ``subtitles``, which ``tools/data/encode_subtitles.py`` reads. ``meta`` holds whatever is known
    of the video; by its ``tags``, a list of words or one for each query id, tests are broken down.
    Several ``spans`` are several occurrences or annotators. Empty ``spans`` mean that the truth is
    unknown: such queries can be answered, but are left out of training. A video with empty
    ``queries`` is part of the corpus to search, and left out of training, too.

    Unlike the published data sets, a span outside ``[0, duration]``, an empty span or an empty
    sentence is an error by default (``strict=True``). :func:`validate_jsonl` lists all of them.
    """

    METAINFO = {'dataset_name': 'jsonl'}

    strict_by_default = True

    def read_annotations(self) -> Iterator[RawVideo]:
        for where, row in read_jsonl(self.ann_file):
            yield parse_row(row, self.ann_file, where)


def parse_row(row: dict, path: str, where: str) -> RawVideo:
    """One line of the file.

    Raises:
        AnnotationError: a key is missing, unknown or of the wrong type.
    """
    _refuse_unknown(row, VIDEO_KEYS, path, where)
    video_id = entry(row, 'video_id', path, where, str)
    duration = entry(row, 'duration', path, where, (int, float))
    raw_queries = entry(row, 'queries', path, where, list)
    queries = []
    for index, raw in enumerate(raw_queries):
        place = f'{where} (video {video_id}, query {index})'
        text = entry(raw, 'query', path, place, str)
        _refuse_unknown(raw, QUERY_KEYS, path, place)
        spans = entry(raw, 'spans', path, place, list)
        if not all(isinstance(span, list) for span in spans):
            raise AnnotationError(
                f'{path}: {place}: spans is {spans!r}, expected [[start, end], ...] in seconds'
            )
        query_id = f'{video_id}#{index}'
        if raw.get('query_id') is not None:
            query_id = str(entry(raw, 'query_id', path, place, (str, int, float)))
        queries.append(RawQuery(query_id, text, spans, place))
    file = None if row.get('video') is None else entry(row, 'video', path, where, str)
    meta = {} if row.get('meta') is None else entry(row, 'meta', path, where, dict)
    return RawVideo(video_id, duration, queries, where, file=file, meta=meta)


def validate_jsonl(path: str) -> list[str]:
    """All faults of a file, each in one line; an empty list when the file can be used.

    Args:
        path: a file in the form of :class:`JsonlMomentDataset`.

    Returns:
        Messages in the order of the file, at most one for each line of it.
    """
    cleaner = Cleaner(path, strict=True)
    faults = []
    for where, line in read_lines(path):
        try:
            cleaner.clean(parse_row(parse_json_line(line, path, where), path, where))
        except AnnotationError as error:
            faults.append(str(error))
    return faults


def _refuse_unknown(row: dict, known: set[str], path: str, where: str) -> None:
    unknown = sorted(set(row) - known)
    if unknown:
        other = "a line for each query, with a 'qid', is the form of QVHighlightsDataset"
        own = "further facts about a video go into 'meta'"
        raise AnnotationError(
            f'{path}: {where}: unknown key {unknown[0]!r}; allowed: {", ".join(sorted(known))} '
            f'({other if "qid" in unknown else own})'
        )
