"""A library: folders of videos, kept up to date in an index."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from mmengine.logging import MMLogger

from demul_mm.app.catalogue import Catalogue, VideoRow
from demul_mm.app.indexing import Indexed
from demul_mm.app.settings import drop_roots, keep, settle, settle_roots
from demul_mm.app.sources import State, covers, is_new, resolve, survey
from demul_mm.app.video_model import VideoModel, video_model
from demul_mm.files import total_size, write_atomically
from demul_mm.index.milvus_collections import Collections
from demul_mm.video.text import spoken_lines

# Of paths, an encoder's name and fingerprint, seconds and shots: what is to be kept of each path,
# or why there is nothing.
Encode = Callable[..., Iterator[tuple[str, bytes | None, str | None]]]
# Errors of a disk that are no fault of a video.
FULL = (errno.ENOSPC, errno.EDQUOT)


class Report(NamedTuple):
    """What an update did; ``broken`` are paths and why they could not be read."""

    added: int
    kept: int
    forgotten: int
    broken: list[tuple[str, str]]


class BusyError(ValueError):
    """Another process updates the library."""


class Library(Indexed):
    """Videos that are searched by an image-text model, in a folder of its own.

    Killed at any moment, it loses the video that was being encoded and nothing else; the next
    update goes on from there.

    Args:
        path: folder of the library.
        encoder: makes, from a name or None, what has ``name``, ``fingerprint``, ``encode_images``
            and ``encode_texts``, as
            :class:`~demul_mm.zero_shot.image_text.ImageTextEncoder`, or a
            :class:`~demul_mm.app.trained.TrainedModel`; called when it is needed.
        seconds: between the frames that are encoded, of a new library; None: 1.0.
        shots: whether moments of a new library keep to shots; None: they do not.
        milvus: address of the server that keeps the index of a new library; None: its folder does.

    Raises:
        ValueError: the library is not new, and was made with other ``seconds``, ``shots`` or
            ``milvus`` than those that are given.

    Attributes:
        speech: writes down what is said in videos that have no subtitles, as
            :class:`~demul_mm.app.speech.SpeechRecognizer`; None: nobody does.
    """

    speech: Any = None

    def __init__(
        self,
        path: str | Path,
        encoder: Callable[[str | None], Any],
        seconds: float | None = None,
        shots: bool | None = None,
        milvus: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.catalogue = Catalogue(self.path / 'library.sqlite', shared=milvus is not None)
        self._make = encoder
        self._made: Any = None
        self._given = seconds, shots, milvus
        self._settle()

    @classmethod
    def open(cls, path: str | Path, encoder: Callable[[str | None], Any]) -> 'Library':
        """A library that exists.

        Raises:
            FileNotFoundError: there is none.
        """
        if not is_library(path):
            raise FileNotFoundError(
                f'there is no library in {path}; make one: demul index FOLDER --index {path}'
            )
        return cls(path, encoder)

    @classmethod
    def make(
        cls,
        path: str | Path,
        encoder: Callable[[str | None], Any],
        sources: str | Path | Sequence[str | Path],
        seconds: float | None = None,
        shots: bool | None = None,
        milvus: str | None = None,
    ) -> 'Library':
        """A library that exists, or a new one: nothing is left of one that could not be filled.

        Args:
            encoder: see the class; of a new library it is made before anything else is.
            sources: what it is to be filled with; see :meth:`update`.
            seconds: see the class.
            shots: see the class.
            milvus: see the class.

        Raises:
            FileNotFoundError, ValueError: a source or the encoder of a new library is missing.
        """
        if is_library(path):
            return cls(path, encoder, seconds, shots, milvus)
        resolve(sources)
        made = encoder(None)
        video_model(made, 1.0, bool(shots))
        if milvus is not None:
            Collections(milvus, 'demul', None).exist()
        return cls(path, lambda known: made, seconds, shots, milvus)

    def _settle(self) -> None:
        """Take over what another process may have fixed meanwhile."""
        self._settings = settle(self.path, self.catalogue, *self._given)
        self.seconds, self.shots, self.served = self._settings

    @property
    def encoder(self) -> Any:
        """Loaded when it is first asked for, and held against the one that the library has.

        Raises:
            ValueError: the library has another one, or is new and keeps to shots, which it cannot.
        """
        if self._made is None:
            self._settle()
            known = self.catalogue.setting('encoder')
            made = self._make(known and known['name'])
            mine = dict(name=made.name, fingerprint=made.fingerprint)
            if known and known['fingerprint'] != mine['fingerprint']:
                raise ValueError(
                    f'{self.path} was made with the encoder {known["name"]}, this is '
                    f'{mine["name"]} with other weights; leave --model out, or give another '
                    '--index'
                )
            if not known:
                video_model(made, self.seconds, self.shots)
                keep(self.catalogue, mine, self._settings)
            self._made = made
        return self._made

    @property
    def video_model(self) -> VideoModel:
        """What encodes videos and finds moments in them."""
        return video_model(self.encoder, self.seconds, self.shots)

    def update(
        self,
        sources: str | Path | Sequence[str | Path] = (),
        retry: bool = False,
        progress: Callable[[str, float, int, int], None] | None = None,
        ready: Callable[[str, str], bool] | None = None,
        cluster: Encode | None = None,
    ) -> Report:
        """Add what is new or changed in folders and files, and forget what is gone from them.

        Args:
            sources: folders, searched with what is below them, files, and globs, one or several;
                none: all that were given before.
            retry: try again what was broken before and has not changed.
            progress: called with a path, the share of it that is done, how many are done and how
                many there are.
            ready: called with the path of a video that is new or has changed, and a string that
                changes when it or its subtitles do; False leaves it for the next update.
            cluster: encodes, as :func:`~demul_mm.app.cluster.encode_on` of some cluster does; None:
                this process does.

        Raises:
            FileNotFoundError: a source is missing; nothing is forgotten then.
            ValueError: there is no source.
            BusyError: another process updates the library.
            OSError: the disk is full.
        """
        with self._alone():
            return self._update(sources, retry, progress, ready, cluster)

    def forget(self, sources: str | Path | Sequence[str | Path]) -> Report:
        """Take sources out of the library, with their videos.

        Args:
            sources: folders, files and globs. What was given to :meth:`update` and is one of
                these, or lies in it, is no source any more. Of the videos in them, those that are
                there and lie in another source are kept.

        Raises:
            ValueError: one of them is no source, and none of its videos is missing.
            BusyError: another process updates the library.
        """
        with self._alone():
            known = [row.path for row in self.catalogue.videos()]
            gone = drop_roots(sources, self.catalogue, known)
            self._bring_up_to_date()
            return Report(0, len(known) - len(gone), len(gone), [])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with FileLock(self.path / 'update.lock', timeout=0):
                yield
        except Timeout:
            raise BusyError(f'another process is updating {self.path}; wait for it') from None

    def _update(
        self,
        sources: str | Path | Sequence[str | Path],
        retry: bool,
        progress: Callable[[str, float, int, int], None] | None,
        ready: Callable[[str, str], bool] | None,
        cluster: Encode | None,
    ) -> Report:
        self._settle()
        known = {row.path: row for row in self.catalogue.videos()}
        roots = settle_roots(sources, self.catalogue)
        states, unseen, away, mounts = survey(roots, known, self.catalogue.setting('mounts', []))
        self.catalogue.set('mounts', mounts)
        stored = {file.stem for file in self._files()}
        new = [
            path
            for path, state in states.items()
            if is_new(known.get(path), state, retry)
            or (known[path].state != 'broken' and state.key not in stored)
        ]
        todo = [path for path in new if ready is None or ready(path, ' '.join(states[path]))]
        lost = [path for path in known.keys() - away if path not in states and path not in unseen]
        gone = [path for path in lost if any(covers(root, path) for root in roots)]
        for path in gone:
            self.catalogue.forget(path)
        tell = progress or (lambda *_: None)
        seen = self._seen(todo, states, cluster) if todo and cluster else todo
        unread: dict[str, str] = {}
        for number, path in enumerate(seen):
            tell(path, 0.0, number, len(todo))
            share = partial(_tell_share, tell, path, number, len(todo))
            unread |= self._add(path, states[path], share, known.get(path))
        self._bring_up_to_date()
        self._listen(tell)
        now = {row.path: row for row in self.catalogue.videos() if row.path in states}
        broken = [(path, row.error or '') for path, row in now.items() if row.state == 'broken']
        done = set(todo) - dict(broken).keys()
        same = sum(known.get(path) == now[path] for path in done)  # its text is still unread
        broken += [*unread.items(), *((_shown(path), error) for path, error in unseen.items())]
        kept = len(states) - len(new) + same
        return Report(len(done) - same, kept, len(gone), broken)

    def _seen(
        self, paths: Sequence[str], states: Mapping[str, State], cluster: Encode
    ) -> Iterator[str]:
        """Paths as a cluster has encoded them; those that it could not are entered as broken."""
        todo = []
        for path in paths:
            if self._file(states[path].key).exists():
                yield path  # its text changed, or its owner was killed before it was entered
            else:
                todo.append(path)
        same = (self.encoder.name, self.encoder.fingerprint, self.seconds, self.shots)
        for path, content, error in cluster(todo, *same):
            if content is None:
                self.catalogue.put(path, *states[path], None, error=error)
            else:
                write_atomically(self._file(states[path].key), content)
                yield path

    def _add(
        self, path: str, state: State, progress: Callable[[float], None], row: VideoRow | None
    ) -> dict[str, str]:
        """Encode a video, if it was not before, and enter it with what is said in it.

        Returns:
            The subtitle files that could not be read for now, each with why.
        """
        model = self.video_model  # what is wrong with it is no fault of the video
        file = self._file(state.key)
        try:
            if not file.exists():
                model.write(path, file, progress)
            _, duration = model.frames(file)
            lines, unread = spoken_lines(path)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise OSError(f'{self.path} cannot grow: {error.strerror}') from error
            self.catalogue.put(path, *state, None, error=str(error))
            return {}
        # With what it lacks, it is the state of no video: the next update tries again.
        entered = state._replace(text=' '.join([state.text, *sorted(unread)]))
        if is_new(row, entered, retry=True):
            self.catalogue.put(path, *entered, duration, lines)
        return unread

    def _listen(self, tell: Callable[[str, float, int, int], None]) -> None:
        """Write down what is said where there are no subtitles."""
        todo = self.catalogue.unheard(self.speech.name) if self.speech else []
        for number, row in enumerate(todo):
            tell(row.path, 0.0, number, len(todo))
            try:
                share = partial(_tell_share, tell, row.path, number, len(todo))
                lines = self.speech(row.path, share)
            except (OSError, ValueError) as error:
                MMLogger.get_current_instance().warning(f'{row.path} is not heard ({error})')
                lines = []
            self.catalogue.put_speech(row.id, self.speech.name, lines)

    def facts(self) -> dict[str, Any]:
        """What the library holds."""
        rows = self.catalogue.videos()
        files = [path for path in self.path.rglob('*') if path.is_file()]
        return dict(
            library=str(self.path),
            encoder=(self.catalogue.setting('encoder') or {}).get('name'),
            seconds_between_frames=self.seconds,
            shots=self.shots,
            milvus=self.served and self.served['uri'],
            folders=self.catalogue.setting('roots', []),
            videos=sum(row.state == 'indexed' for row in rows),
            waiting=sum(row.state == 'encoded' for row in rows),
            hours=round(sum(row.duration or 0 for row in rows) / 3600, 3),
            lines_of_text=self.catalogue.count_lines(),
            megabytes=round(total_size(files) / 1e6, 1),
            broken={row.path: row.error for row in rows if row.state == 'broken'},
        )


def _tell_share(
    tell: Callable[[str, float, int, int], None], path: str, done: int, total: int, share: float
) -> None:
    tell(path, share, done, total)


def _shown(path: str) -> str:
    """Also of a name that is no Unicode."""
    return path.encode(errors='backslashreplace').decode()


def is_library(path: str | Path) -> bool:
    """Whether a folder is one."""
    return (Path(path) / 'library.sqlite').is_file()
