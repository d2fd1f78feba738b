"""ActivityNet Captions (Krishna et al., ICCV 2017)."""

from collections.abc import Iterator

from demul_mm.datasets.annotations import RawVideo
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.reading import entry, read_json, sentences_with_times
from demul_mm.registry import DATASETS


@DATASETS.register_module()
class ActivityNetCaptionsDataset(MomentDataset):
    """ActivityNet Captions: 118 s and 3.7 sentences a video on average.

    The file is the official one: ``{video_id: {duration, timestamps, sentences}}``, times in
    seconds. The splits are called ``train``, ``val_1`` and ``val_2``; there is no test split with
    public truth. 2D-TAN and its heirs ship val_1 as ``val.json`` and val_2 as ``test.json``, and
    report on val_2; all 4,885 videos of val_2 are also in val_1, with other sentences. The
    original release calls them ``val_1.json`` and ``val_2.json``.
    """

    METAINFO = {'dataset_name': 'activitynet_captions'}
    splits = ('train', 'val_1', 'val_2')

    def read_annotations(self) -> Iterator[RawVideo]:
        for video_id, raw in read_json(self.ann_file, dict).items():
            where = f'video {video_id}'
            duration = entry(raw, 'duration', self.ann_file, where, (int, float))
            queries = sentences_with_times(raw, video_id, self.ann_file)
            yield RawVideo(video_id, duration, queries, where, file=f'{video_id}.mp4')
