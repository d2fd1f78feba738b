"""DiDeMo (Hendricks et al., ICCV 2017)."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, read_json
from demul_mm.registry import DATASETS

CHUNK_SECONDS = 5.0
MAX_CHUNKS = 6


@DATASETS.register_module()
class DiDeMoDataset(MomentDataset):
    """DiDeMo: Flickr videos of up to 30 s in chunks of 5 s, with four or more votes a sentence.

    ``ann_file`` is the official list of ``{annotation_id, video, description, times,
    num_segments}``. A vote ``[i, j]`` means the chunks ``i`` to ``j`` inclusive; it becomes the
    span ``(5 i, 5 (j + 1))`` in seconds. All votes of a sentence are its ``gt_spans (G, 2)``, in
    the file's order and with their repetitions, since the metric needs every one of them.

    The video id is the file name: 29 Flickr ids of val and 33 of test occur under two file names,
    with different annotations. The annotations have no durations: they are 5 s a chunk (25 or
    30 s). ``info_file``, optional, is a JSON file ``{video: seconds}`` with true durations; the
    last chunk may then be short.
    """

    METAINFO = {'dataset_name': 'didemo'}
    splits = ('train', 'val', 'test')

    def read_annotations(self) -> Iterator[RawVideo]:
        durations = read_json(self.info_files[0], dict) if self.info_files else {}
        rows: dict[str, list[tuple[str, dict]]] = {}
        for index, row in enumerate(read_json(self.ann_file, list)):
            where = f'entry {index}'
            video_id = entry(row, 'video', self.ann_file, where, str)
            rows.setdefault(video_id, []).append((where, row))
        for video_id, members in rows.items():
            chunks = max(self._chunks(row, where) for where, row in members)
            duration = self._duration(video_id, chunks, durations)
            queries = [self._query(row, where, chunks, duration) for where, row in members]
            yield RawVideo(video_id, duration, queries, members[0][0], file=video_id)

    def _chunks(self, row: dict, where: str) -> int:
        chunks = entry(row, 'num_segments', self.ann_file, where, int)
        if not 1 <= chunks <= MAX_CHUNKS:
            raise AnnotationError(
                f'{self.ann_file}: {where}: num_segments is {chunks}, expected 1 to {MAX_CHUNKS}'
            )
        return chunks

    def _duration(self, video_id: str, chunks: int, durations: dict) -> float:
        nominal = chunks * CHUNK_SECONDS
        if not self.info_files:
            return nominal
        if video_id not in durations:
            raise AnnotationError(
                f'{self.info_files[0]}: no duration of video {video_id!r}; '
                'add it, or leave info_file out to count 5 s a chunk'
            )
        # Every chunk that was voted on exists, if only just; longer videos were cut at 30 s.
        return min(max(float(durations[video_id]), nominal - CHUNK_SECONDS + 0.1), nominal)

    def _query(self, row: dict, where: str, chunks: int, duration: float) -> RawQuery:
        text = entry(row, 'description', self.ann_file, where, str)
        spans = []
        for vote in entry(row, 'times', self.ann_file, where, list):
            if not (isinstance(vote, list) and len(vote) == 2 and 0 <= vote[0] <= vote[1] < chunks):
                raise AnnotationError(
                    f'{self.ann_file}: {where}: vote {vote!r}, expected [first, last] chunk '
                    f'with 0 <= first <= last < {chunks}'
                )
            end = min((vote[1] + 1) * CHUNK_SECONDS, duration)
            spans.append([vote[0] * CHUNK_SECONDS, end])
        query_id = str(entry(row, 'annotation_id', self.ann_file, where))
        return RawQuery(query_id, text, spans, where)
