"""What is said is found by the words that tell lines apart."""

from pathlib import Path

import pytest

from demul_mm.app.catalogue import Catalogue
from demul_mm.video.text import TimedLine


def test_what_is_said_in_a_video_and_a_link_to_it_is_one_line(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / 'library.sqlite')
    for name in ('a', 'b'):
        lines = [TimedLine(start, start + 1, 'hello there', f'{name}.srt') for start in (1.0, 5.0)]
        catalogue.put(f'{name}.mp4', 'one key', '', 9.0, lines)
    assert [line.start for line in catalogue.find_lines('hello')] == [1.0, 5.0]


def test_links_push_out_no_other_video(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / 'library.sqlite')
    lines = [TimedLine(i, i + 1, 'hello there', 'x.srt') for i in range(3)]
    for name, key in (*((f'link{i}', 'one') for i in range(5)), ('z', 'other')):
        catalogue.put(f'{name}.mp4', key, '', 9.0, lines)
    assert {line.key for line in catalogue.find_lines('hello', 6)} == {'one', 'other'}
    assert len(catalogue.find_lines('hello', 5)) == 5


def test_a_library_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / 'film.mp4').touch()
    with pytest.raises(ValueError, match=r'film\.mp4 is a file; a library is a folder'):
        Catalogue(tmp_path / 'film.mp4/library.sqlite')


def test_frequent_words_count_only_where_no_rarer_is(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / 'library.sqlite')
    texts = [f'the {what}' for what in ('door', 'red door', 'house', *['other things'] * 197)]
    lines = [TimedLine(number, number + 1, text, 'x.srt') for number, text in enumerate(texts)]
    catalogue.put('a.mp4', 'a', '', 200.0, lines)

    def found(sentence: str, limit: int = 10) -> list[float]:
        return [line.start for line in catalogue.find_lines(sentence, limit)]

    assert found('door') == found('the door') == [0.0, 1.0]
    assert found('the red doors of the house') == [1.0, 2.0, 0.0]
    assert len(found('the')) == 10
    assert len(found('the things')) == 10
    assert len(found('the door', limit=200)) == 200  # few lines cost little
