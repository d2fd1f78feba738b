"""What is said is written down where there are no subtitles, once, and searched as they are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demul_mm.app.library import Library
from demul_mm.app.speech import PATTERNS
from demul_mm.hub import download_notice
from demul_mm.video.text import TimedLine
from tests.app.films import ColourEncoder, write_film, write_subtitles

RATE = 16_000


class Listener:
    """Hears the name of the file."""

    def __init__(self, name: str = 'ear') -> None:
        self.name = name
        self.heard: list[str] = []

    def __call__(self, path: str, progress=None) -> list[TimedLine]:
        self.heard.append(Path(path).stem)
        if 'noise' in path:
            raise ValueError('no sound that can be decoded')
        return [TimedLine(1.0, 2.0, f'this is {Path(path).stem}', f'speech ({self.name})')]


def library(path: Path, speech: Listener | None) -> Library:
    found = Library(path / 'library', ColourEncoder)
    found.speech = speech
    return found


def said(lib: Library, sentence: str) -> list[tuple[str, str]]:
    hits = lib.search(sentence, kinds=['text'])
    return [(Path(hit.path).stem, hit.why[0]) for hit in hits]


def test_only_videos_without_subtitles_are_heard_and_once(tmp_path: Path) -> None:
    films = tmp_path / 'films'
    for name in ('one', 'two', 'noise'):
        write_film(films / f'{name}.mp4', ['red'])
    write_subtitles(films / 'two.srt', [(0, 1, 'written words')])
    library(tmp_path, None).update([films])
    ear = Listener()
    lib = library(tmp_path, ear)
    assert lib.update()[:3] == (0, 3, 0)
    assert sorted(ear.heard) == ['noise', 'one']
    assert said(lib, 'this') == [('one', 'speech (ear): "this is one"')]
    assert said(lib, 'written') == [('two', 'two.srt: "written words"')]
    write_film(films / 'three.mp4', ['blue'])
    assert lib.update()[:3] == (1, 3, 0)
    assert ear.heard[2:] == ['three']
    # Another model's words take the place of this one's; subtitles that come, too.
    write_subtitles(films / 'one.srt', [(0, 1, 'written later')])
    better = library(tmp_path, Listener('better'))
    better.update()
    assert sorted(better.speech.heard) == ['noise', 'three']
    assert said(better, 'this') == [('three', 'speech (better): "this is three"')]
    assert said(better, 'later') == [('one', 'one.srt: "written later"')]


def test_a_download_is_told_first() -> None:
    class Info:
        id, card_data = 'owner/whisper', dict(license='mit')
        siblings = [
            type('File', (), dict(rfilename='model.bin', size=75_000_000)),
            type('File', (), dict(rfilename='README.md', size=9_000_000)),
        ]

    assert download_notice(Info, PATTERNS) == (
        'downloading owner/whisper from https://huggingface.co/owner/whisper: 75 MB, licence: mit'
    )


def write_sound(film: Path, target: Path, later: float = 0.0) -> Path:
    """Five seconds of noise beside the pictures, ``later`` than they begin."""
    noise = np.random.default_rng(0).normal(size=(1, 5 * RATE)).astype(np.float32) * 0.1
    with av.open(str(film)) as pictures, av.open(str(target), 'w') as out:
        copy = out.add_stream_from_template(pictures.streams.video[0])
        sound = out.add_stream('flac', rate=RATE, layout='mono')
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        levels = (noise * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(levels, format='s16', layout='mono')
        frame.rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(later * RATE)
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return target


@pytest.mark.slow
def test_faster_whisper_writes_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('faster_whisper')
    from demul_mm.app.speech import SpeechRecognizer
    from tests.app.speakers import SENTENCE, SPAN, save_speaker

    film = write_film(tmp_path / 'mute.mp4', ['red', 'blue'])
    recognizer = SpeechRecognizer(str(save_speaker(tmp_path / 'tiny')), device='cpu', offline=True)
    assert recognizer(str(film)) == []
    noisy = write_sound(film, tmp_path / 'noise.mkv')
    assert recognizer(str(noisy)) == []  # noise is no speech
    everything = [dict(start=0, end=5 * RATE)]
    monkeypatch.setattr('faster_whisper.transcribe.get_speech_timestamps', lambda *_: everything)
    for later in (0.0, 0.75):
        shares: list[float] = []
        path = write_sound(film, tmp_path / f'late{later}.mkv', later)
        (line, *_) = recognizer(str(path), shares.append)
        assert (line.text, line.source) == (' '.join(SENTENCE), 'speech (tiny)')
        assert (line.start, line.end) == pytest.approx(np.array(SPAN) + later, abs=0.02)
        assert shares == sorted(shares)
    with pytest.raises(FileNotFoundError, match='--offline'):
        SpeechRecognizer('nobody/whisper', offline=True)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no Whisper model for CTranslate2'):
        SpeechRecognizer(str(tmp_path / 'empty'))
