"""Charades-STA (Gao et al., ICCV 2017) and Charades-CD (Yuan et al., HUMA 2021)."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import AnnotationError, RawQuery, RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import (
    entry,
    read_csv,
    read_json,
    read_lines,
    sentences_with_times,
)
from demul_mm.registry import DATASETS


@DATASETS.register_module()
class CharadesSTADataset(MomentDataset):
    """Charades-STA: indoor activities, 30 s and 2.4 sentences a video on average.

    ``ann_file`` is the official text file, a line for each query: ``<video> <start> <end>##
    <sentence>``, in seconds. ``info_file`` is the csv of Charades (``Charades_v1_train.csv`` or
    ``..._test.csv``), whose column ``length`` has the durations. 4 train queries end before they
    start and are dropped; 1,802 others and 562 test queries end after the video and are clipped.
    Its column ``actions``, where it is there, is ``meta['actions']``: ``(class, start, end)`` each.
    """

    METAINFO = {'dataset_name': 'charades_sta'}
    splits = ('train', 'test')

    def read_annotations(self) -> Iterator[RawVideo]:
        infos = self._read_infos()
        videos: dict[str, RawVideo] = {}
        for where, line in read_lines(self.ann_file):
            head, mark, text = line.partition('##')
            fields = head.split()
            if not mark or len(fields) != 3:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: {line[:60]!r}, expected '
                    "'<video> <start> <end>##<sentence>'; is it the file of another data set?"
                )
            video_id, start, end = fields[0], *_seconds(fields[1:], self.ann_file, where)
            if video_id not in infos:
                raise AnnotationError(
                    f'{self.ann_file}: {where}: video {video_id!r} is not in '
                    f'{self.info_files[0]}; give the csv of the same split as info_file'
                )
            duration, meta = infos[video_id]
            video = videos.setdefault(
                video_id,
                RawVideo(video_id, duration, [], where, file=f'{video_id}.mp4', meta=meta),
            )
            query_id = f'{video_id}#{len(video.queries)}'
            video.queries.append(RawQuery(query_id, text, [[start, end]], where))
        yield from videos.values()

    def _read_infos(self) -> dict[str, tuple[float, dict]]:
        """Of each video, its duration and what else is known of it."""
        if len(self.info_files) != 1:
            raise ValueError(
                'CharadesSTADataset needs info_file, the csv of Charades with the durations '
                '(Charades_v1_train.csv or Charades_v1_test.csv)'
            )
        return read_infos(self.info_files[0])


@DATASETS.register_module()
class CharadesCDDataset(MomentDataset):
    """Charades-CD: Charades-STA divided anew, to test under a changed distribution.

    ``train``, ``val`` and ``test_iid`` have moments of like places and lengths; those of
    ``test_ood`` are elsewhere, so that a model which knows the usual places alone fails there
    ("A Closer Look at Temporal Sentence Grounding in Videos: Dataset and Metric"). The file is
    the official one, ``charades_{split}.json``: ``{video_id: {video_duration, timestamps,
    sentences, ...}}``. ``info_file``, which is optional, is one or both of the csv of Charades, for
    ``meta['actions']`` as of :class:`CharadesSTADataset`.
    """

    METAINFO = {'dataset_name': 'charades_cd'}
    splits = ('train', 'val', 'test_iid', 'test_ood')

    def read_annotations(self) -> Iterator[RawVideo]:
        infos = {k: v for path in self.info_files for k, v in read_infos(path).items()}
        for video_id, raw in read_json(self.ann_file, dict).items():
            where = f'video {video_id}'
            duration = entry(raw, 'video_duration', self.ann_file, where, (int, float))
            queries = sentences_with_times(raw, video_id, self.ann_file)
            _, meta = infos.get(video_id, (duration, {}))
            yield RawVideo(
                video_id, duration, queries, where, file=f'{video_id}.mp4', meta=dict(meta)
            )


def read_infos(path: str) -> dict[str, tuple[float, dict]]:
    """Of each video of a csv of Charades, its duration and what else is known of it."""
    infos = {}
    for where, row in read_csv(path, {'id', 'length'}):
        meta = {}
        if 'actions' in row:
            meta['actions'] = _actions(row['actions'] or '', path, where)
        infos[row['id']] = _seconds([row['length']], path, where)[0], meta
    return infos


def _actions(text: str, path: str, where: str) -> list[tuple[str, float, float]]:
    """Those of ``c092 11.90 21.20;c147 0.00 12.60``."""
    actions = []
    for action in filter(None, text.split(';')):
        name, *times = action.split()
        if len(times) != 2:
            raise AnnotationError(
                f'{path}: {where}: action {action!r}, expected <class> <start> <end>'
            )
        start, end = _seconds(times, path, where)
        actions.append((name, start, end))
    return actions


def _seconds(values: list[str], path: str, where: str) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise AnnotationError(f'{path}: {where}: {values!r} are not times in seconds') from error
