"""TACoS (Regneri et al., TACL 2013), in the two forms that are in use."""

import os
import re
from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, read_json, read_lines, sentences_with_times
from demul_mm.registry import DATASETS

ROW = re.compile(r'(?P<video>.+\.avi)_(?P<start>\d+)_(?P<end>\d+):(?P<sentences>.*)$')


@DATASETS.register_module()
class TACoSDataset(MomentDataset):
    """TACoS: cooking, 287 s and 130 sentences a video on average. Two forms, by file type:

    - ``.json``, that of 2D-TAN: ``{video_id: {timestamps, sentences, fps, num_frames}}`` with
      times in frames; 9,790 / 4,436 / 4,001 queries in train / val / test.
    - ``.txt``, that of TALL: ``<video>.avi_<start>_<end>:<sentence>#<sentence>#...`` with times in
      frames; 10,146 / 4,589 / 4,083 queries. ``info_file`` gives what the lines lack: one or more
      JSON files, of 2D-TAN (``{video_id: {fps, num_frames}}``) or of TALL (``video_info.json``,
      ``{video: fps}``). Lengths are only in those of 2D-TAN.

    The two count differently: a table must say which it is (``metainfo['form']``).
    """

    METAINFO = {'dataset_name': 'tacos'}
    splits = ('train', 'val', 'test')

    @property
    def metainfo(self) -> dict:
        form = 'original' if str(self.ann_file).endswith('.txt') else '2d-tan'
        return {**super().metainfo, 'form': form}

    def read_annotations(self) -> Iterator[RawVideo]:
        if self.metainfo['form'] == 'original':
            return self._read_original()
        return self._read_2d_tan()

    def _read_2d_tan(self) -> Iterator[RawVideo]:
        for video_id, raw in read_json(self.ann_file, dict).items():
            where = f'video {video_id}'
            fps, frames = _rate_and_length(raw, self.ann_file, where)
            queries = sentences_with_times(raw, video_id, self.ann_file, fps)
            yield RawVideo(video_id, frames / fps, queries, where, file=video_id)

    def _read_original(self) -> Iterator[RawVideo]:
        rates, lengths = self._read_info()
        videos: dict[str, RawVideo] = {}
        for where, line in read_lines(self.ann_file):
            match = ROW.match(line)
            if match is None:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: {line[:60]!r}, expected '
                    "'<video>.avi_<start>_<end>:<sentence>#...#', times in frames"
                )
            video_id = match['video']
            stem = os.path.splitext(video_id)[0]
            if stem not in rates or stem not in lengths:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: no {"fps" if stem not in rates else "num_frames"} '
                    f'of video {video_id!r} in {self.info_files}; give the file of 2D-TAN for this '
                    'split as info_file (video_info.json has frame rates only)'
                )
            fps = rates[stem]
            video = videos.setdefault(
                video_id, RawVideo(video_id, lengths[stem] / fps, [], where, file=video_id)
            )
            span = [int(match['start']) / fps, int(match['end']) / fps]
            for text in match['sentences'].removesuffix('#').split('#'):
                query_id = f'{video_id}#{len(video.queries)}'
                video.queries.append(RawQuery(query_id, text, [span], where))
        yield from videos.values()

    def _read_info(self) -> tuple[dict[str, float], dict[str, float]]:
        """Frame rates and lengths in frames, by video without suffix."""
        rates: dict[str, float] = {}
        lengths: dict[str, float] = {}
        for path in self.info_files:
            for video_id, value in read_json(path, dict).items():
                stem = os.path.splitext(video_id)[0]
                if isinstance(value, dict):
                    rates[stem], lengths[stem] = _rate_and_length(value, path, f'video {video_id}')
                else:
                    rates[stem] = value
        return rates, lengths


def _rate_and_length(raw: dict, path: str, where: str) -> tuple[float, float]:
    fps = entry(raw, 'fps', path, where, (int, float))
    frames = entry(raw, 'num_frames', path, where, (int, float))
    if fps <= 0:
        raise AnnotationError(f'{path}: {where}: fps is {fps}, expected frames a second above 0')
    return fps, frames
