"""What is said in a video, recognised by Whisper (faster-whisper)."""

from collections.abc import Callable
from pathlib import Path

from demul_mm.hub import fetch
from demul_mm.video.pyav import import_av
from demul_mm.video.text import TimedLine, first_time

# What a model for CTranslate2 is loaded from.
PATTERNS = ('model.bin', '*.json', 'vocabulary.*')


class SpeechRecognizer:
    """Writes down what is said in videos; parts without speech are left out before (Silero VAD).

    Args:
        name: folder, or name on huggingface.co, of a Whisper model for CTranslate2.
        device: where it runs; None: a GPU where there is one.
        offline: never download; otherwise what is downloaded is logged first.

    Raises:
        FileNotFoundError: there is no such folder, and no downloaded model of that name.
        ValueError: it is no such model.
    """

    def __init__(self, name: str, device: str | None = None, offline: bool = False) -> None:
        from faster_whisper import WhisperModel

        folder = fetch(name, offline, patterns=PATTERNS)
        kind, _, number = (device or 'auto').partition(':')
        try:
            self._model = WhisperModel(folder, device=kind, device_index=int(number or 0))
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f'{name} is no Whisper model for CTranslate2 that can run here ({error}); give '
                'one, for example Systran/faster-whisper-small'
            ) from error
        self.name = Path(name).name

    def __call__(
        self, path: str, progress: Callable[[float], None] | None = None
    ) -> list[TimedLine]:
        """Lines of what is said, in seconds from the first frame; none where there is no sound.

        Args:
            path: a video file.
            progress: called with the share of the video that is done.

        Raises:
            ValueError: the sound cannot be decoded.
        """
        av = import_av()

        try:
            with av.open(path, metadata_errors='replace') as container:
                if not container.streams.audio:
                    return []
                sound = container.streams.audio[0]
                later = float((sound.start_time or 0) * sound.time_base) - first_time(container)
            parts, about = self._model.transcribe(path, vad_filter=True)
        except av.error.FFmpegError as error:
            raise ValueError(f'its sound cannot be decoded: {error}') from error
        lines = []
        for part in parts:
            start, end = max(0.0, part.start + later), part.end + later
            if end > start and part.text.strip():
                lines.append(TimedLine(start, end, part.text.strip(), f'speech ({self.name})'))
            if progress is not None:
                progress(min(1.0, part.end / max(about.duration, 1e-9)))
        return lines
