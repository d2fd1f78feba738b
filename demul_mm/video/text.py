"""What is said in a video: subtitles beside it and in it."""

import html
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import MMLogger

from demul_mm.files import VIDEO_SUFFIXES
from demul_mm.structures.names import is_unicode
from demul_mm.video.pyav import import_av

# Files that stand beside a video under its name: film.srt, film.en.vtt.
SUBTITLE_SUFFIXES = ('.srt', '.vtt', '.ass', '.ssa', '.ttml', '.sbv')
# Tags of these forms, and times within a line; another < or > is what is said.
_TAG = r'</?(?:b|i|u|s|c|v|br|p|span|font|lang|ruby|rt)\b[^<>]*>|<[\d:.]+>'
_MARKUP = re.compile(_TAG + r'|\{[^}]*\}', re.IGNORECASE)


class TimedLine(NamedTuple):
    """A line and when it is shown, in seconds from the first frame."""

    start: float
    end: float
    text: str
    source: str


def subtitle_files(video: str | Path) -> list[Path]:
    """Subtitle files that belong to a video, by name."""
    return subtitles_in(Path(video).parent).get(Path(video).stem, [])


def subtitles_in(folder: Path) -> dict[str, list[Path]]:
    """The subtitle files of a folder by the name, without suffix, of the video they belong to.

    ``film.en.vtt`` belongs to ``film.en`` if the folder has such a video, and else to ``film``.
    """
    found: dict[str, list[Path]] = {}
    paths = sorted(folder.iterdir())
    videos = {path.stem for path in paths if path.suffix.lower() in VIDEO_SUFFIXES}
    for path in paths:
        if path.suffix.lower() in SUBTITLE_SUFFIXES and path.is_file() and is_unicode(path.name):
            found.setdefault(path.stem, []).append(path)
            language = re.fullmatch(r'(.+)\.[\w-]+', path.stem)
            if language and path.stem not in videos:
                found.setdefault(language[1], []).append(path)
    return found


def read_lines(path: str | Path) -> list[TimedLine]:
    """The lines of a subtitle file, or of the text tracks inside a video.

    Times of a track inside count from the first frame of the video, as those of a file do. Tracks
    of pictures (DVD, Blu-ray) hold no text and are left out. An empty file has no lines.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    av = import_av()

    path = Path(path)
    inside = path.suffix.lower() not in SUBTITLE_SUFFIXES
    content = b'' if inside else _utf8(path.read_bytes())
    if not inside and not content.strip():
        return []
    source: Any = str(path) if inside else io.BytesIO(content)
    try:
        with av.open(source, metadata_errors='replace') as container:
            tracks = [s for s in container.streams if s.type == 'subtitle' and s.codec_context]
            origin = first_time(container) if inside else 0.0
            label = {
                s.index: f'track {s.language or s.index}' if inside else path.name for s in tracks
            }
            lines = [
                TimedLine(max(0.0, start - origin), end - origin, text, label[index])
                for index, start, end, text in _packets(container, tracks)
            ]
    except av.error.FFmpegError as error:
        raise ValueError(
            f'{path}: no subtitles can be read from it ({error.strerror}); it is damaged, or of '
            'a kind that FFmpeg does not read, as TTML is'
        ) from error
    return sorted(line for line in lines if line.text and line.end > line.start)


def spoken_lines(path: str) -> tuple[list[TimedLine], dict[str, str]]:
    """Lines of the subtitles beside a video, or else of those inside it.

    A damaged file is told of and left out; what two files say at one time is one line.

    Returns:
        The lines; and the files that could not be read for now, each with why.
    """
    beside: dict[tuple, TimedLine] = {}
    unread = {}
    for file in subtitle_files(path):
        try:
            beside.update((line[:3], line) for line in _readable_lines(file))
        except OSError as error:
            unread[str(file)] = error.strerror or str(error)
    return list(beside.values()) or _readable_lines(path), unread


def _readable_lines(path: str | Path) -> list[TimedLine]:
    try:
        return read_lines(path)
    except ValueError as error:
        MMLogger.get_current_instance().warning(f'left without lines: {error}')
        return []


def _packets(container: Any, tracks: list[Any]) -> list[tuple[int, float, float, str]]:
    found = []
    for packet in container.demux(*tracks) if tracks else ():
        if not packet.size or packet.pts is None or packet.duration is None:
            continue
        start = float(packet.pts * packet.time_base)
        end = start + float(packet.duration * packet.time_base)
        for part in packet.decode():
            text = getattr(part, 'dialogue', None) or getattr(part, 'text', None) or b''
            found.append((packet.stream.index, start, end, _plain(text)))
    return found


def first_time(container: Any) -> float:
    """Timestamp of the first frame of an open file, as its header says; 0 where it does not."""
    video = container.streams.video[0] if container.streams.video else None
    if video is None or video.start_time is None:
        return 0.0
    return float(video.start_time * video.time_base)


def _plain(text: bytes | str) -> str:
    plain = text.decode('utf-8', 'replace') if isinstance(text, bytes) else text
    plain = plain.replace('\\N', ' ').replace('\\n', ' ').replace('\\h', ' ')
    return ' '.join(html.unescape(_MARKUP.sub(' ', plain)).split())


def _utf8(content: bytes) -> bytes:
    """Old files are in the encoding of Windows; new ones may begin with a mark."""
    for encoding in ('utf-16',) if content[:2] in (b'\xff\xfe', b'\xfe\xff') else ('utf-8-sig',):
        try:
            return content.decode(encoding).encode()
        except UnicodeDecodeError:
            pass
    return content.decode('cp1252', 'replace').encode()
