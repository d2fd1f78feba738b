"""Finding moments by shared words: on texts made here."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tools.running import call

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
from word_overlap import WordOverlap, best_windows, clip_texts, rate_windows, video_recall

from demul_mm.datasets.subtitles import Subtitle

CONFIG = 'configs/demul_youcook2_transcripts_cv.py'


def test_the_window_that_stands_above_the_rest_is_found() -> None:
    likeness = np.zeros(60)
    likeness[20:30] = 1
    likeness[50] = 1
    found = best_windows(rate_windows(likeness))
    assert found.spans[0].tolist() == [20, 30]
    assert (np.diff(found.scores) <= 0).all()


def test_windows_overlap_by_half_at_most() -> None:
    windows = rate_windows(np.random.default_rng(0).random(40))
    spans = best_windows(windows).spans
    assert len(spans) == 10
    inter = np.minimum(spans[:, None, 1], spans[:, 1]) - np.maximum(spans[:, None, 0], spans[:, 0])
    union = np.maximum(spans[:, None, 1], spans[:, 1]) - np.minimum(spans[:, None, 0], spans[:, 0])
    iou = (inter / union)[~np.eye(10, dtype=bool)]
    assert iou.max() <= 0.5


def test_a_text_is_in_all_clips_that_it_touches() -> None:
    told = [Subtitle(0.0, 2.5, 'a'), Subtitle(2.5, 4.0, 'b'), Subtitle(9.0, 12.0, 'c')]
    assert clip_texts(told, 9.5, 2.0) == ['a', 'a b', '', '', 'c']


def test_a_video_that_shares_no_word_is_not_found() -> None:
    pytest.importorskip('sklearn')
    words = WordOverlap({'a': ['red disc', ''], 'b': ['blue square'], 'silent': ['']})
    asked = [('red', 'a'), ('guitar', 'a'), ('a square', 'b'), ('red', 'silent')]
    entries = [{'query': query, 'video_id': video} for query, video in asked]
    found = video_recall(words, entries)
    assert len(found) == 3
    for recall in found.values():
        assert recall == {f'VR/R@{k}': 50.0 for k in (1, 5, 10, 100)}


def test_a_whole_run(tmp_path: Path) -> None:
    pytest.importorskip('sklearn')
    folder = tmp_path / 'annotations'
    folder.mkdir()
    source = folder / 'videos.jsonl'
    words = ['onions', 'butter', 'carrots']
    rows = [
        {
            'video_id': word,
            'duration': 60.0,
            'queries': [{'query': f'chop the {word}', 'spans': [[20.0, 40.0]]}],
            'subtitles': [[0, 20, 'welcome'], [20, 40, f'now the {word}'], [40, 60, 'goodbye']],
        }
        for word in words
    ]
    source.write_text('\n'.join(map(json.dumps, rows)))
    texts = folder / 'texts.jsonl'  # of the last video there is none
    texts.write_text('\n'.join(map(json.dumps, rows[:2])))
    out = tmp_path / 'words.json'
    done = call(
        'benchmarks/word_overlap.py', CONFIG, source, '--out', out,
        '--cfg-options', f'data_root={tmp_path}',
    )  # fmt: skip
    assert done.code == 0, done.err
    assert '| best clip | 100.00 | 100.00 |' in done.out
    predicted = json.loads(out.read_text())['predictions']
    for entry in predicted:
        start, end, _ = entry['pred'][0]
        assert 20 <= start < end <= 40
        assert end - start > 14
    done = call(
        'benchmarks/word_overlap.py', CONFIG, texts, '--cfg-options', f'data_root={tmp_path}'
    )
    assert done.code == 0, done.err
    assert '| best clip | 66.67 | 66.67 |' in done.out
