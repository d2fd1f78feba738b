"""TV show Retrieval (Lei et al., ECCV 2020)."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, read_json, read_jsonl
from demul_mm.registry import DATASETS


@DATASETS.register_module()
class TVRDataset(MomentDataset):
    """TVR: 76 s and five sentences a video, made for retrieval from a corpus.

    ``ann_file`` is the official JSONL, a line for each query: ``{vid_name, duration, ts, desc,
    desc_id, type}``, in seconds; ``type`` (``v``, ``t`` or ``vt``: answered by video, subtitles or
    both) is kept in ``meta['query_types']`` by query id. The query id is ``desc_id``.

    ``info_file``, optional, is ``tvr_video2dur_idx.json`` (``{split: {video: [seconds, index]}}``);
    every video of the file must then be in it. ``tvr_test_public_release.jsonl`` has neither
    videos nor times and cannot be read here: its predictions are scored by the authors' server.
    """

    METAINFO = {'dataset_name': 'tvr'}
    splits = ('train', 'val')

    def read_annotations(self) -> Iterator[RawVideo]:
        known = self._read_known()
        videos: dict[str, RawVideo] = {}
        for where, row in read_jsonl(self.ann_file):
            video_id = entry(row, 'vid_name', self.ann_file, where, str)
            duration = entry(row, 'duration', self.ann_file, where, (int, float))
            if known is not None and video_id not in known:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: video {video_id!r} is not in '
                    f'{self.info_files[0]}; give the files of the same release'
                )
            video = videos.setdefault(
                video_id,
                RawVideo(video_id, duration, [], where, f'{video_id}.mp4', {'query_types': {}}),
            )
            query_id = str(entry(row, 'desc_id', self.ann_file, where))
            text = entry(row, 'desc', self.ann_file, where, str)
            span = entry(row, 'ts', self.ann_file, where, list)
            video.queries.append(RawQuery(query_id, text, [span], where))
            video.meta['query_types'][query_id] = row.get('type', 'v')
        yield from videos.values()

    def _read_known(self) -> set[str] | None:
        if not self.info_files:
            return None
        durations = read_json(self.info_files[0], dict)
        return {video_id for split in durations.values() for video_id in split}
