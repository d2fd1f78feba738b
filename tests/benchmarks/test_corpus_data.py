"""The corpora that the index benchmark makes."""

import sys
from pathlib import Path

import numpy as np
import pytest

from demul_mm.index import VideoEntry
from demul_mm.index.vectors import write_queries, write_vectors

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
from corpus_data import BLOCK, EnlargedCorpus, SyntheticCorpus, first_level, unit

DIM, REAL = 16, 7


def real_video(number: int) -> VideoEntry:
    """Two levels: some clips, and half as many pairs of them."""
    rng = np.random.default_rng(number)
    clips = 4 + 2 * (number % 3)
    starts = np.r_[np.arange(clips), np.arange(0, clips, 2)]
    widths = np.r_[np.ones(clips), 2 * np.ones(clips // 2)]
    spans = 3.0 * np.stack([starts, starts + widths], 1).astype(np.float32)
    moments = unit(rng.standard_normal((len(spans), DIM)).astype(np.float32))
    return VideoEntry(f'film{number}', moments, spans, 3.0 * clips)


@pytest.fixture
def corpus(tmp_path: Path) -> EnlargedCorpus:
    videos = [real_video(i) for i in range(REAL)]
    write_vectors(tmp_path / 'vectors' / 'a.safetensors', videos)
    queries = np.stack([v.moments[1] for v in videos])
    truth = [(v.video_id, *map(float, v.spans[1])) for v in videos]
    write_queries(tmp_path / 'queries.safetensors', queries, ['words'] * REAL, truth)
    folder, file = str(tmp_path / 'vectors'), str(tmp_path / 'queries.safetensors')
    return EnlargedCorpus(2500, 0, folder, file, 0.25)


def test_real_videos_come_first_and_unchanged(corpus: EnlargedCorpus) -> None:
    for number, entry in enumerate(corpus.block(0)[:REAL]):
        real = real_video(number)
        np.testing.assert_allclose(entry.moments, real.moments, atol=1e-3)  # kept in half precision
        np.testing.assert_allclose(entry.spans, real.spans, rtol=1e-6)
        assert (entry.duration, entry.clips) == (real.duration, first_level(real))


def test_every_video_is_a_valid_entry(corpus: EnlargedCorpus) -> None:
    blocks = list(corpus.blocks())
    assert [len(entries) for entries in blocks] == [BLOCK, BLOCK, 500]
    entries = [entry for entries in blocks for entry in entries]
    assert [entry.video_id for entry in entries] == corpus.ids()
    for entry in entries:
        entry.check(DIM)
        assert entry.spans.max() <= entry.duration * (1 + 1e-6)
        assert entry.clips <= len(entry.moments)
        widths = entry.spans[:, 1] - entry.spans[:, 0]
        if 0 < entry.clips < len(widths):  # clips come first
            assert widths[: entry.clips].max() < widths[entry.clips :].min() * 1.5


def test_a_distractor_is_two_halves_moved_together(corpus: EnlargedCorpus) -> None:
    still = EnlargedCorpus.__new__(EnlargedCorpus)
    vars(still).update(vars(corpus), shift=0.0)
    pool = {tuple(np.round(m, 3)) for v in range(REAL) for m in corpus.block(0)[v].moments}
    for made, moved in zip(still.block(1)[:50], corpus.block(1)[:50]):
        assert {tuple(np.round(m, 3)) for m in made.moments} <= pool
        np.testing.assert_array_equal(made.spans, moved.spans)
        assert not np.allclose(made.moments, moved.moments, atol=0.05)


def test_blocks_do_not_depend_on_the_size(corpus: EnlargedCorpus) -> None:
    larger = EnlargedCorpus.__new__(EnlargedCorpus)
    vars(larger).update(vars(corpus), size=9000)
    for one, other in zip(corpus.block(2), larger.block(2)):
        np.testing.assert_array_equal(one.moments, other.moments)
    again = next(iter(corpus.load(['00001234'])))
    np.testing.assert_array_equal(again.moments, corpus.block(1)[234].moments)


def test_truth_names_the_videos_of_the_corpus(corpus: EnlargedCorpus) -> None:
    truth = corpus.truth(5)
    assert len(truth.video_ids) == 5
    entries = {e.video_id: e for e in corpus.block(0)}
    for vector, video_id, span in zip(truth.vectors, truth.video_ids, truth.spans):
        entry = entries[video_id]
        best = int(np.argmax(entry.moments @ vector))
        np.testing.assert_allclose(entry.spans[best], span)
    quantiles = corpus.score_quantiles(5)
    assert {key.split()[0] for key in quantiles} == {'real', 'made'}
    assert all(-1 <= value <= 1.001 for value in quantiles.values())


def test_the_finest_level_ends_where_time_starts_again() -> None:
    assert [first_level(real_video(i)) for i in range(3)] == [4, 6, 8]
    clips = SyntheticCorpus(1000, 0, DIM).block(0)[0]
    assert clips.clips == 10
    assert first_level(clips) == 10
