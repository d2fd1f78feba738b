"""The index of a library, kept as its catalogue says."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from demul_mm.app.asking import Searchable
from demul_mm.index import FaissIndex, IndexFormatError, MilvusIndex, MomentIndex, VideoEntry


class Indexed(Searchable):
    """A library's videos as files of its folder, and their index, which is made of them.

    Attributes:
        path: the folder.
        served: where a server keeps the index; None: the folder does.
    """

    path: Path
    served: dict[str, Any] | None
    _opened: tuple[int, MomentIndex] | None = None

    def _bring_up_to_date(self) -> None:
        """Give the index what it lacks and take from it what is gone; again after a kill."""
        index = self._readable_index()
        states = ('encoded', 'indexed') if index is None else ('encoded',)
        rows = [row for row in self.catalogue.videos() if row.state in states]
        keys = list(dict.fromkeys(row.key for row in rows))
        if keys and index is not None:
            index.add(_Entries(self, keys), on_existing='skip', resume=False)
        elif keys:
            index = (MilvusIndex if self.served else FaissIndex)(
                path=self.path / 'index',
                model_fingerprint=self.encoder.fingerprint,
                feature_fingerprint=self.video_model.recipe,
                **(self.served or {}),
            )
            index.build(_Entries(self, keys), resume=False, overwrite=True)
        gone = self.catalogue.gone()
        if gone and index is not None:
            index.remove(gone, missing='ignore')
        if keys or gone:
            self._note_change()
        self.catalogue.mark_indexed(keys)
        self.catalogue.drop_gone()
        known = {row.key for row in self.catalogue.videos()}
        for file in self._files():
            # Of videos that are gone, and what one that was killed had not entered yet.
            if file.stem not in known:
                file.unlink()

    def _files(self) -> Iterator[Path]:
        """What is kept of all videos, each named by its key; needs no encoder."""
        return (self.path / 'frames').glob('*/*')

    def _file(self, key: str) -> Path:
        """What is kept of a video."""
        return self.path / 'frames' / key[:2] / f'{key}{self.video_model.suffix}'

    def _note_change(self) -> None:
        """Have every process that searches open the index anew."""
        self.catalogue.set('index_state', self.catalogue.setting('index_state', 0) + 1)

    def _readable_index(self) -> MomentIndex | None:
        """The index; one that cannot be read is deleted, and made anew from the frames."""
        try:
            return self._open_index()
        except IndexFormatError as error:
            MMLogger.get_current_instance().warning(f'made anew from the frames: {error}')
            shutil.rmtree(self.path / 'index')
            return None

    def _open_index(self) -> MomentIndex | None:
        state = self.catalogue.setting('index_state', 0)
        opened = self._opened
        if opened is None or opened[0] != state:
            try:
                opened = state, MomentIndex.open(self.path / 'index')
            except FileNotFoundError:
                return None
            self._opened = opened  # at once: threads open it, too
        return opened[1]

    def entry(self, key: str) -> VideoEntry:
        """A video as the index keeps it: its windows at all scales."""
        return self.video_model.entry(key, self._file(key))

    def frames(self, key: str) -> tuple[np.ndarray, float]:
        """Vectors ``(T, S)`` float32 of a video's frames, and its seconds."""
        return self.video_model.frames(self._file(key))


class _Entries:
    """Entries of a library's videos, for the index."""

    def __init__(self, library: Indexed, keys: Sequence[str]) -> None:
        self._library, self._keys = library, list(keys)

    def ids(self) -> list[str]:
        return self._keys

    def load(self, video_ids: Sequence[str]) -> Iterator[VideoEntry]:
        return map(self._library.entry, video_ids)
