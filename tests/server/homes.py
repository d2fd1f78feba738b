"""A small library to serve: two films, of which one has subtitles."""

from pathlib import Path

from demul_mm.server.service import Service
from tests.app.films import ColourEncoder, write_film, write_subtitles


def make_home(home: Path) -> Path:
    """Films in ``films``, more in ``more``, and beside both what must not be served."""
    write_film(home / 'films/one.mp4', ['black', 'red', 'black'])
    write_film(home / 'films/below/two.mp4', ['blue', 'black', 'green'])
    write_subtitles(home / 'films/one.srt', [(3.5, 5, 'It is all red')])
    write_film(home / 'more/three.mp4', ['green', 'red'])
    (home / 'secret.txt').write_text('a secret')
    return home


def open_service(home: Path) -> Service:
    """With its library up to date."""
    service = Service(home / 'library', ColourEncoder, allowed=[home / 'more'])
    service.library.update([home / 'films'])
    return service
