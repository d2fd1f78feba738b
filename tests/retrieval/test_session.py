"""Search sessions: feedback, words, undoing, saving."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from demul_mm.index import SearchFilter, VideoEntry
from demul_mm.models.heads import JointScore
from demul_mm.registry import INDEXES
from demul_mm.retrieval import (
    CorpusSearcher,
    Dialogue,
    FeedbackWeights,
    SearchSession,
    SessionOptions,
    refine_query,
)
from demul_mm.retrieval.refining import MomentVectors, rescore
from demul_mm.structures import Moment, QueryEncoding

DIM = 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def make_videos(number: int = 30, moments: int = 6) -> list[VideoEntry]:
    """Moments of two seconds, ten seconds apart."""
    rng = np.random.default_rng(0)
    starts = 10.0 * np.arange(moments)
    spans = np.stack([starts, starts + 2], 1).astype(np.float32)
    return [
        VideoEntry(f'v{i}', unit(rng.standard_normal((moments, DIM))), spans, 60.0)
        for i in range(number)
    ]


def query_of(vector: np.ndarray) -> QueryEncoding:
    """Only what the index sees; mode 'fast' needs no more."""
    empty = torch.zeros(1, 0)
    fields = dict.fromkeys(QueryEncoding._fields, empty)
    return QueryEncoding(**{**fields, 'shared': torch.from_numpy(unit(vector))[None]})


def searcher_of(videos: list[VideoEntry]) -> CorpusSearcher:
    index = INDEXES.build(dict(type='ExactIndex', level2='fp16', model_fingerprint='m'))
    index.build(videos)
    return CorpusSearcher(wordless(), index, None, None)


def wordless() -> Any:
    """As much of a model as mode 'fast' looks at."""
    return SimpleNamespace(head=SimpleNamespace(joint=JointScore()))


def session_of(
    videos: list[VideoEntry], vector: np.ndarray, weights: dict | None = None, **options: Any
) -> SearchSession:
    return SearchSession(
        searcher_of(videos),
        'a sentence',
        SessionOptions(**{'mode': 'fast', 'num_moments': 1000, 'depth': 1000, **options}),
        FeedbackWeights(**(weights or {})),
        query=query_of(vector),
    )


def rows(session: SearchSession) -> list[tuple]:
    return [(m.video_id, m.start, m.end, m.score) for m in session.results]


def places(session: SearchSession) -> dict[tuple[str, float], int]:
    return {(m.video_id, m.start): i for i, m in enumerate(session.results)}


VIDEOS = make_videos()
QUERIES = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)


@pytest.mark.parametrize('liked', [0.1, 0.5, 3.0])
def test_liking_a_moment_never_lowers_its_rank(liked: float) -> None:
    for vector in QUERIES:
        session = session_of(VIDEOS, vector, dict(liked=liked))
        for number in (2, 40, 100, 30, 7):
            truth = session.results[number - 1]
            before = places(session)[truth.video_id, truth.start]
            session.like(truth)
            assert places(session)[truth.video_id, truth.start] <= before


def test_disliking_never_raises_a_rank() -> None:
    rng = np.random.default_rng(2)
    moments = F.normalize(torch.from_numpy(rng.standard_normal((200, DIM))).float(), dim=1)
    query = F.normalize(torch.from_numpy(QUERIES[0]), dim=0)
    disliked = torch.zeros(0, DIM)
    for number in (3, 50, 120):
        weights = FeedbackWeights(disliked=0.4)
        before = moments @ refine_query(query, moments[:0], disliked, weights)[0]
        disliked = torch.cat([disliked, moments[number : number + 1]])
        after = moments @ refine_query(query, moments[:0], disliked, weights)[0]
        ahead = [int((scores > scores[number]).sum()) for scores in (before, after)]
        assert ahead[1] >= ahead[0]


def test_feedback_moves_the_logits_of_fused_moments() -> None:
    vectors = MomentVectors(searcher_of(VIDEOS).index)
    moments = [Moment(f'v{i}', 10.0, 12.0, 0.8 - 0.1 * i, 0.8 - 0.1 * i) for i in range(4)]
    plain = Moment('v9', 10.0, 12.0, 0.3)
    offset = torch.from_numpy(2 * VIDEOS[3].moments[1])
    moved = rescore([*moments, plain], vectors, offset)
    assert moved[-1] is plain
    before = {m.video_id: np.log(m.score / (1 - m.score)) for m in moments}
    after = {m.video_id: np.log(m.score / (1 - m.score)) for m in moved[:-1]}
    shifts = {v: after[v] - before[v] for v in before}
    expected = {f'v{i}': float(VIDEOS[i].moments[1] @ offset.numpy()) for i in range(4)}
    mean = np.mean(list(expected.values()))
    for video, shift in shifts.items():
        assert shift == pytest.approx(expected[video] - mean, abs=0.01)
    assert max(shifts, key=shifts.__getitem__) == 'v3'
    scores = [m.score for m in moved[:-1]]
    assert scores == sorted(scores, reverse=True)


def test_the_refined_query_is_on_the_sphere_and_as_weighted() -> None:
    rng = np.random.default_rng(3)
    query, liked, disliked = (
        F.normalize(torch.from_numpy(rng.standard_normal((n, DIM))).float(), dim=1)
        for n in (1, 2, 3)
    )
    refined, offset = refine_query(query[0], liked, disliked, FeedbackWeights(0.5, 0.2))
    expected = query[0] + 0.5 * (liked[0] + liked[1]) - 0.2 * disliked.sum(0)
    torch.testing.assert_close(refined, expected / expected.norm())
    torch.testing.assert_close(offset, expected - query[0])
    nothing = torch.zeros(0, DIM)
    same, offset = refine_query(query[0], nothing, nothing, FeedbackWeights())
    torch.testing.assert_close(same, query[0])
    assert not offset.any()


def test_a_disliked_moment_is_not_shown_again() -> None:
    session = session_of(VIDEOS, QUERIES[0], num_moments=10)
    first = [(m.video_id, m.start) for m in session.results]
    session.dislike(1, 2)
    shown = [(m.video_id, m.start) for m in session.results]
    assert len(shown) == 10
    assert not set(first[:2]) & set(shown)
    session.like(3)
    assert len(session.state.disliked) == 2
    gone = session.state.disliked[0]
    session.like(gone)  # taken back
    assert gone not in session.state.disliked
    assert gone in session.state.liked


def test_undo_restores_bit_equal_results() -> None:
    session = session_of(VIDEOS, QUERIES[1], num_moments=20)
    steps = [
        lambda: session.like(2),
        lambda: session.dislike(1, 5),
        lambda: session.tell('later than 0:15'),
        lambda: session.exclude(1),
        lambda: session.keep('v1', 'v2', 'v3'),
        lambda: session.tell('the last one'),
    ]
    seen = []
    for step in steps:
        seen.append(rows(session))
        step()
        assert rows(session) != seen[-1]
    assert len(session.history) == len(steps) + 1
    for expected in reversed(seen):
        session._shown.clear()  # found anew, not remembered
        session.undo()
        assert rows(session) == expected
    with pytest.raises(ValueError, match='0 steps to undo'):
        session.undo()


def test_several_steps_are_undone_at_once() -> None:
    session = session_of(VIDEOS, QUERIES[1])
    first = rows(session)
    session.like(1)
    session.dislike(4)
    session.undo(2)
    assert rows(session) == first
    assert session.history == ['searched']


def test_a_step_that_fails_leaves_no_trace() -> None:
    session = session_of(VIDEOS, QUERIES[1])
    before = rows(session)
    for wrong in (
        lambda: session.like(0),
        lambda: session.like(1001),
        lambda: session.like(),
        lambda: session.keep(),
        lambda: session.tell('banana'),
    ):
        with pytest.raises(ValueError, match=r'moment|understood|video'):
            wrong()
    assert session.history == ['searched']
    assert rows(session) == before


def test_excluded_and_kept_videos() -> None:
    session = session_of(VIDEOS, QUERIES[2])
    best = session.results[0].video_id
    session.exclude(1)
    assert best not in {m.video_id for m in session.results}
    session.undo()
    session.keep('v3', 'v7')
    assert {m.video_id for m in session.results} == {'v3', 'v7'}
    session.exclude('v3')
    assert {m.video_id for m in session.results} == {'v7'}


@pytest.mark.parametrize(
    ('given', 'allowed'),
    [
        (dict(video_ids={'v3', 'v7', 'v9'}), {'v3', 'v7', 'v9'}),
        (dict(video_ids='v7'), {'v7'}),
        (dict(excluded_ids=['v3']), {f'v{i}' for i in range(30) if i != 3}),
        (dict(conditions=[('n', '<', 8), ('n', 'in', [3, 7, 9])]), {'v3', 'v7'}),
    ],
)
def test_a_session_keeps_to_the_filter_of_its_options(
    given: dict, allowed: set[str], tmp_path: Path
) -> None:
    """And to what was said, and after it was saved."""
    videos = [replace(video, metadata=dict(n=i)) for i, video in enumerate(VIDEOS)]
    session = session_of(videos, QUERIES[2], where=SearchFilter(**given))

    def shown(one: SearchSession) -> set[str]:
        return {m.video_id for m in one.results}

    assert shown(session) == allowed
    session.tell('after 0:01')
    session.exclude('v9', 'v5')
    assert shown(session) == allowed - {'v9', 'v5'}
    session.keep('v3', 'v7', 'v9')
    assert shown(session) == allowed & {'v3', 'v7'}
    session.save(tmp_path / 'session.json')
    again = SearchSession.load(tmp_path / 'session.json', session.searcher, query_of(QUERIES[2]))
    assert rows(again) == rows(session)
    again.undo(3)
    assert shown(again) == allowed


def test_a_function_cannot_be_saved(tmp_path: Path) -> None:
    where = SearchFilter(predicate=lambda values: values['n'] == 3)
    videos = [replace(video, metadata=dict(n=i)) for i, video in enumerate(VIDEOS)]
    session = session_of(videos, QUERIES[2], where=where)
    assert {m.video_id for m in session.results} == {'v3'}
    with pytest.raises(ValueError, match='predicate'):
        session.save(tmp_path / 'session.json')


def repeated(places: dict[str, list[float]]) -> list[VideoEntry]:
    """Videos in which the same event happens at these seconds, with other things between."""
    rng = np.random.default_rng(4)
    event = np.eye(DIM)[0]
    videos = []
    for name, starts in places.items():
        other = rng.standard_normal((4, DIM))
        other[:, 0] = 0
        moments = [*(event + 0.1 * rng.standard_normal((len(starts), DIM))), *other]
        begins = np.array([*starts, 3.0, 33.0, 53.0, 73.0])
        spans = np.stack([begins, begins + 2], 1).astype(np.float32)
        videos.append(VideoEntry(name, unit(np.stack(moments)), spans, 90.0))
    return videos


TIMES = {'once': [40.0], 'twice': [60.0, 20.0], 'thrice': [70.0, 10.0, 50.0]}


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ('the first time', {'once': 40, 'twice': 20, 'thrice': 10}),
        ('the second time', {'twice': 60, 'thrice': 50}),
        ('the third one', {'thrice': 70}),
        ('the last one', {'once': 40, 'twice': 60, 'thrice': 70}),
        ('the second to last time', {'twice': 20, 'thrice': 50}),
        ('the first time after 0:15', {'once': 40, 'twice': 20, 'thrice': 50}),
        ('the last one before 1:00', {'once': 40, 'twice': 20, 'thrice': 50}),
    ],
)
def test_ordinals_pick_the_right_occurrence(words: str, expected: dict[str, float]) -> None:
    session = session_of(repeated(TIMES), np.eye(DIM)[0], tolerance=3.0)
    session.tell(words)
    assert {m.video_id: m.start for m in session.results} == expected
    scores = [m.score for m in session.results]
    assert scores == sorted(scores, reverse=True)


def test_after_that_one_stays_in_its_video() -> None:
    session = session_of(repeated(TIMES), np.eye(DIM)[0])
    place = next(
        i for i, m in enumerate(session.results, 1) if (m.video_id, m.start) == ('thrice', 10)
    )
    session.tell(f'after #{place}')
    assert {m.video_id for m in session.results} == {'thrice'}
    assert [m.start for m in session.results[:2]] in ([50, 70], [70, 50])
    assert all(m.start >= 12 for m in session.results)
    session.undo()
    session.like(place)
    session.tell('after that one')  # the liked one
    assert {m.video_id for m in session.results} == {'thrice'}


def test_nothing_lies_after_moments_of_two_videos() -> None:
    session = session_of(repeated(TIMES), np.eye(DIM)[0])
    first = session.results[0]
    other = next(i for i, m in enumerate(session.results, 1) if m.video_id != first.video_id)
    session.tell(f'after #{other}')
    session.keep(first.video_id)
    assert session.results == []
    assert 'nothing is left' in session.show()


def test_saved_and_loaded(tmp_path: Path) -> None:
    session = session_of(VIDEOS, QUERIES[3], num_moments=10)
    session.like(1)
    session.dislike(3)
    session.tell('later than 0:08')
    session.exclude('v5')
    path = tmp_path / 'session.json'
    session.save(path)
    content = json.loads(path.read_text())
    assert [m['video_id'] for m in content['results']] == [m.video_id for m in session.results]
    again = SearchSession.load(path, session.searcher, query_of(QUERIES[3]))
    assert rows(again) == rows(session)
    assert again.history == session.history
    for _ in range(4):
        assert rows(again) == rows(session)
        if len(again.history) > 1:
            again.undo()
            session.undo()
    other = INDEXES.build(dict(type='ExactIndex', model_fingerprint='other'))
    other.build(VIDEOS[:2])
    with pytest.raises(ValueError, match='saved with model'):
        SearchSession.load(path, CorpusSearcher(wordless(), other, None, None))
    path.write_text('{}')
    with pytest.raises(ValueError, match='no search session'):
        SearchSession.load(path, session.searcher)


def test_a_dialogue(tmp_path: Path) -> None:
    session = session_of(repeated(TIMES), np.eye(DIM)[0], num_moments=5)
    dialogue = Dialogue(lambda text: session, 'it happens')
    first = dialogue.answer('show')
    assert '"a sentence"' in first
    assert len(first.splitlines()) == 6
    assert 'yes: ' in dialogue.answer('yes 1')
    assert dialogue.answer('no #2, 3').splitlines()[2].startswith('  no: ')
    assert 'when: from 30 s' in dialogue.answer('later than 0:30')
    assert dialogue.answer('undo 3') == first
    assert 'when: from 0 s until 30 s' in dialogue.answer('No later than 0:30')
    assert dialogue.answer('undo') == first
    assert 'understood' in dialogue.answer('banana')
    assert 'no moment 9' in dialogue.answer('yes 9')
    assert 'is no number' in dialogue.answer('yes banana')
    assert 'only: twice' in dialogue.answer('only twice')
    assert 'without: twice' in dialogue.answer('without twice')
    assert 'saved' in dialogue.answer(f'save {tmp_path / "s.json"}')
    assert (tmp_path / 's.json').is_file()
    assert dialogue.answer('history').splitlines()[-1] == '  2. without twice'
    assert 'undo' in dialogue.answer('help')
    assert not dialogue.ended
    dialogue.answer('quit')
    assert dialogue.ended


@pytest.mark.parametrize('name', ['liked', 'disliked', 'fused'])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} is -1'):
        FeedbackWeights(**{name: -1.0})
