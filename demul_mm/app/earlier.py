"""What is kept of a library that the version before made."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from demul_mm.app.catalogue import Catalogue, VideoRow
from demul_mm.app.sources import State, key_of
from demul_mm.files import replacing
from demul_mm.video.text import subtitles_in

# The setting that holds, by the key of a video, the one that it had before.
EARLIER = 'earlier_keys'


def take_over(
    paths: Iterable[str],
    states: Mapping[str, State],
    known: Mapping[str, VideoRow],
    catalogue: Catalogue,
    file: Callable[[str], Path],
) -> None:
    """Let what was encoded stand for videos whose keys stood for their subtitles, too.

    Args:
        paths: of videos that are to be added.
        states: of these and others.
        known: what the library has, by path.
        catalogue: of the library; notes the keys that videos had.
        file: where what is encoded of a video is kept, by its key.
    """
    rows = [known[path] for path in paths if path in known and not known[path].text]
    changed = [row for row in rows if row.key != states[row.path].key]
    beside: dict[Path, dict[str, list[Path]]] = {}
    earlier = {}
    for row in changed:
        place = Path(row.path)
        with suppress(OSError):  # it is gone by now
            if place.parent not in beside:
                beside[place.parent] = subtitles_in(place.parent, alone=False)
            if row.key == key_of([place, *beside[place.parent].get(place.stem, ())]):
                earlier[states[row.path].key] = row.key
    if earlier:
        catalogue.set(EARLIER, catalogue.setting(EARLIER, {}) | earlier)
    for key, before in earlier.items():
        # Until a video's turn has come its old file is asked; then nothing knows it, and it goes.
        if file(before).exists() and not file(key).exists():
            file(key).parent.mkdir(parents=True, exist_ok=True)
            with replacing(file(key)) as temporary:
                shutil.copyfile(file(before), temporary)
