"""QVHighlights (Lei et al., NeurIPS 2021), and one's own data in its form."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, read_jsonl
from demul_mm.registry import DATASETS

CLIP_SECONDS = 2
"""What annotators rated the saliency of."""


@DATASETS.register_module()
class QVHighlightsDataset(MomentDataset):
    """QVHighlights: 150 s a video, often several moments a sentence; and whatever has its form.

    ``ann_file`` is a JSONL, a line for each query: ``{qid, query, vid, duration,
    relevant_windows, relevant_clip_ids, saliency_scores}``. ``relevant_windows`` are all moments
    that the sentence describes, ``[[start, end], ...]`` in seconds; lines without the key have no
    known truth, as those of the test release.

    ``relevant_clip_ids`` and ``saliency_scores`` are optional, but go together: clips of 2 s, from
    0, and how each annotator rates them, from 0 to 4. They come as ``meta['saliency']``: for each
    query id ``(T, A)`` ratings, 0 in clips that are not named.
    """

    METAINFO = {'dataset_name': 'qvhighlights'}

    def read_annotations(self) -> Iterator[RawVideo]:
        videos: dict[str, RawVideo] = {}
        for where, row in read_jsonl(self.ann_file):
            video_id = entry(row, 'vid', self.ann_file, where, str)
            duration = entry(row, 'duration', self.ann_file, where, (int, float))
            video = videos.setdefault(
                video_id,
                RawVideo(video_id, duration, [], where, f'{video_id}.mp4', {'saliency': {}}),
            )
            if duration != video.duration:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: video {video_id!r} is {duration:g} s long, but '
                    f'{video.duration:g} s in {video.where}; give one duration'
                )
            query_id = str(entry(row, 'qid', self.ann_file, where, (int, str)))
            text = entry(row, 'query', self.ann_file, where, str)
            spans = []
            if 'relevant_windows' in row:
                spans = entry(row, 'relevant_windows', self.ann_file, where, list)
            if not all(isinstance(span, list) for span in spans):
                raise AnnotationError(
                    f'{self.ann_file}: {where}: relevant_windows is {spans!r}, expected '
                    '[[start, end], ...] in seconds'
                )
            video.queries.append(RawQuery(query_id, text, spans, where))
            if 'saliency_scores' in row:
                video.meta['saliency'][query_id] = self._ratings(row, duration, where)
        yield from videos.values()

    def _ratings(self, row: dict, duration: float, where: str) -> list[list[float]]:
        clips = entry(row, 'relevant_clip_ids', self.ann_file, where, list)
        scores = entry(row, 'saliency_scores', self.ann_file, where, list)
        total = int(duration / CLIP_SECONDS)
        annotators = {len(rated) if isinstance(rated, list) else 0 for rated in scores}
        if len(clips) != len(scores) or len(annotators) > 1 or 0 in annotators:
            raise AnnotationError(
                f'{self.ann_file}: {where}: {len(clips)} relevant_clip_ids but {len(scores)} '
                'saliency_scores; there must be one list for each clip, all of the same annotators'
            )
        wrong = [clip for clip in clips if not (isinstance(clip, int) and 0 <= clip < total)]
        if wrong:
            raise AnnotationError(
                f'{self.ann_file}: {where}: clip {wrong[0]!r} in relevant_clip_ids; {duration:g} s '
                f'have clips 0 to {total - 1} of {CLIP_SECONDS} s'
            )
        rated = dict(zip(clips, scores))
        nothing = [0] * (annotators.pop() if annotators else 1)
        return [list(rated.get(clip, nothing)) for clip in range(total)]
