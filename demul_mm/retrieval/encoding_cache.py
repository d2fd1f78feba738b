"""Encodings of videos, kept so that no video is encoded twice."""

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from demul_mm.files import replacing
from demul_mm.retrieval.encodings import EncodedVideo, from_file, to_file


def hash_of(values: Any) -> str:
    """A mark of configs, numbers and text: another one for other values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class EncodingCache:
    """The last videos in memory and, with a folder, all videos on the disk.

    A video of 128 clips on 6 levels of width 128 takes 260 kB in memory and 133 kB on the disk,
    where features are kept in half precision. What comes from a cache with a folder is rounded so
    even when it has just been encoded: the same video always gives the same scores.

    Args:
        fingerprint: that of the model; encodings of another one are never returned.
        max_videos: videos kept in memory.
        folder: where encodings are on the disk, one safetensors file for each video; None: memory
            only.
    """

    def __init__(
        self, fingerprint: str, max_videos: int = 256, folder: str | Path | None = None
    ) -> None:
        if max_videos < 0:
            raise ValueError(f'max_videos is {max_videos}; it must be at least 0')
        self.fingerprint = fingerprint
        self.max_videos = max_videos
        self.folder = None if folder is None else Path(folder)
        self._kept: OrderedDict[str, EncodedVideo] = OrderedDict()

    def get(self, key: str) -> EncodedVideo | None:
        """The video kept under ``key``, or None."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        video = self._read(key)
        if video is not None:
            self._keep(key, video)
        return video

    def put(self, key: str, video: EncodedVideo) -> EncodedVideo:
        """Keep a video under ``key``; returns it as :meth:`get` will."""
        if self.folder is not None:
            self._write(key, video)
            video = video._replace(encoding=from_file(to_file(video.encoding)))
        self._keep(key, video)
        return video

    def _keep(self, key: str, video: EncodedVideo) -> None:
        self._kept[key] = video
        while len(self._kept) > self.max_videos:
            self._kept.popitem(last=False)

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(f'{self.fingerprint}\0{key}'.encode()).hexdigest()[:32]
        return self.folder / f'{name}.safetensors'

    def _write(self, key: str, video: EncodedVideo) -> None:
        tensors = to_file(video.encoding)
        tensors['seconds'] = torch.tensor([video.duration, video.extent], dtype=torch.float64)
        header = dict(video_id=video.video_id, meta=json.dumps(video.meta, default=str))
        with replacing(self._file(key), shared=True) as temporary:
            save_file(tensors, temporary, header)

    def _read(self, key: str) -> EncodedVideo | None:
        if self.folder is None or not self._file(key).is_file():
            return None
        file = self._file(key)
        try:
            with safe_open(file, framework='pt') as opened:
                header = opened.metadata()
                tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
            encoding, (duration, extent) = from_file(tensors), tensors['seconds'].tolist()
        except (SafetensorError, OSError, KeyError) as error:
            MMLogger.get_current_instance().warning(
                f'{file} cannot be read and its video is encoded again: {error}'
            )
            return None
        meta = json.loads(header['meta'])
        return EncodedVideo(header['video_id'], duration, extent, encoding, meta)
