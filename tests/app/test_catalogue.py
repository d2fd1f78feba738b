"""What is said is found by the words that tell lines apart."""

from pathlib import Path

from demul_mm.app.catalogue import Catalogue
from demul_mm.video.text import TimedLine


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
