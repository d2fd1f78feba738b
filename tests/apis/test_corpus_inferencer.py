"""Searching a small corpus, step by step."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from demul_mm.apis import CorpusInferencer, load_model
from demul_mm.apis.corpus_inferencer import dataset_videos
from demul_mm.index import IndexMismatchError, MomentIndex, SearchFilter, VideoEntry
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import DATASETS, INDEXES
from demul_mm.retrieval import SearchOptions, encode_queries
from demul_mm.retrieval.bank import DatasetVideos
from demul_mm.structures import span_iou
from demul_mm.structures.nms import SoftNMS
from tests.apis.small import LENGTHS, SmallCorpus, make_small_corpus
from tests.models.tiny import SENTENCES

INDEX = dict(type='ExactIndex', level2='fp16')
EVERYTHING = dict(num_videos=len(LENGTHS), num_fused=len(LENGTHS), num_moments=1000)
CLOSE = dict(rtol=1e-3, atol=1e-3)


@pytest.fixture(scope='module')
def search(corpus: SmallCorpus) -> CorpusInferencer:
    """All videos indexed in memory. Not to be changed."""
    inferencer = CorpusInferencer(corpus.config, corpus.checkpoint, device='cpu')
    inferencer.build_index(INDEX)
    return inferencer


@pytest.fixture(scope='module')
def entries(corpus: SmallCorpus) -> list[VideoEntry]:
    source, _ = CorpusInferencer(corpus.config, corpus.checkpoint).entries(None)
    return list(source.load(source.ids()))


def rows_of(result: dict) -> list[tuple]:
    return [(m['video_id'], m['start'], m['end'], m['score']) for m in result['moments']]


def assert_same_rows(one: list[tuple], two: list[tuple]) -> None:
    assert [row[0] for row in one] == [row[0] for row in two]
    np.testing.assert_allclose([row[1:] for row in one], [row[1:] for row in two], **CLOSE)


def suppressed(rows: list[tuple]) -> list[tuple]:
    """Greedy suppression inside each video, at most five moments of each."""
    kept: list[tuple] = []
    for row in sorted(rows, key=lambda row: -row[3]):
        own = [k for k in kept if k[0] == row[0]]
        spans = torch.tensor([[k[1], k[2]] for k in own]).reshape(-1, 2)
        clear = bool((span_iou(torch.tensor(row[1:3])[None], spans) <= 0.5).all())
        if clear and len(own) < 5:
            kept.append(row)
    return kept


def test_fast_at_full_depth_is_brute_force(
    search: CorpusInferencer, entries: list[VideoEntry]
) -> None:
    for sentence in SENTENCES:
        (result,) = search(sentence, mode='fast', **EVERYTHING)
        query = search.model.encode_query([sentence]).shared[0].detach().numpy()
        rows = [
            (entry.video_id, *span, float(np.dot(moment.astype(np.float16), query)))
            for entry in entries
            for moment, span in zip(entry.moments, entry.spans.tolist())
        ]
        assert_same_rows(rows_of(result), suppressed(rows))
        assert all(m['probability'] is None and not m['terms'] for m in result['moments'])


@torch.no_grad()
def localized_everywhere(model: DeMUL, inferencer: CorpusInferencer, sentence: str) -> list[tuple]:
    """All pairs of a query with all videos, in one batch of the model."""
    source = inferencer.bank.source
    items = [source.load(i) for i in source.ids()]
    inputs = dict(visual=[item['inputs']['visual'] for item in items])
    samples = [item['data_samples'] for item in items]
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), False)
    videos = model.encode_video(data['inputs'])
    number = len(items)
    found = model.localize(
        videos,
        model.encode_query([sentence]),
        torch.arange(number),
        torch.zeros(number, dtype=torch.int64),
    )
    probability = (found.scores * model.calibrator.scale + model.calibrator.bias).sigmoid()
    rows = []
    for v, sample in enumerate(samples):
        spans = (found.spans[v] * sample.extent).clamp(max=sample.duration)
        own = [
            (sample.video_id, *span, float(p))
            for span, p, inside in zip(spans.tolist(), probability[v], found.mask[v])
            if inside
        ]
        rows += suppressed(own)
    return sorted(rows, key=lambda row: -row[3])


@pytest.mark.parametrize('mode', ['full', 'exact'])
def test_full_on_all_videos_is_localizing_all_pairs(search: CorpusInferencer, mode: str) -> None:
    for sentence in SENTENCES[:3]:
        (result,) = search(sentence, mode=mode, **EVERYTHING)
        assert_same_rows(rows_of(result), localized_everywhere(search.model, search, sentence))
        for moment in result['moments']:
            joint = torch.tensor(sum(moment['terms'].values()))
            expected = float(search.model.calibrator(joint))
            assert moment['probability'] == pytest.approx(expected, abs=1e-4)


def test_a_batch_of_queries_is_each_alone(search: CorpusInferencer) -> None:
    for mode in ('fast', 'full'):
        together = search(SENTENCES, mode=mode, num_fused=3)
        for sentence, result in zip(SENTENCES, together):
            (alone,) = search(sentence, mode=mode, num_fused=3)
            assert result['query'] == sentence
            assert_same_rows(rows_of(result), rows_of(alone))


def test_small_passes_change_nothing(
    search: CorpusInferencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(SENTENCES, num_fused=4)
    monkeypatch.setattr('demul_mm.retrieval.searcher.FUSED_QUERIES', 2)
    budget = search.model.max_pair_points
    try:
        search.model.max_pair_points = 1
        for one, two in zip(whole, search(SENTENCES, num_fused=4)):
            assert_same_rows(rows_of(one), rows_of(two))
    finally:
        search.model.max_pair_points = budget


def test_videos_that_were_not_fused_follow_in_the_order_of_the_index(
    search: CorpusInferencer,
) -> None:
    (full,) = search(SENTENCES[0], num_fused=2, num_videos=7, num_moments=1000)
    (fast,) = search(SENTENCES[0], mode='fast', num_videos=7, num_moments=1000, per_video=1)
    order = [m['video_id'] for m in fast['moments']]
    assert len(order) == len(LENGTHS)
    number = sum(m['probability'] is not None for m in full['moments'])
    fused, rest = full['moments'][:number], full['moments'][number:]
    assert {m['video_id'] for m in fused} == set(order[:2])
    assert [m['video_id'] for m in rest] == order[2:]
    assert [m['score'] for m in rest] == [m['score'] for m in fast['moments'][2:]]


def test_videos_in_which_fusion_leaves_no_moment_come_last(
    search: CorpusInferencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SearchOptions(num_fused=4, num_videos=7, num_moments=1000)
    searcher, queries = search._searcher('full'), encode_queries(search.model, SENTENCES)
    plain, _ = searcher.search(queries, options)
    best = sorted(m.probability for one in plain for m in one.moments if m.probability is not None)
    nms = SoftNMS(sigma=1e9, min_score=best[-3], max_keep=1000)
    monkeypatch.setattr(search.model, 'nms', nms)
    answers, _ = searcher.search(queries, options)
    for one, other in zip(answers, plain):
        told = list(dict.fromkeys(m.video_id for m in one.moments))
        silent = [video for video in one.fused if video not in told]  # in the order of the index
        assert one.videos == told + silent
        assert set(one.videos) == set(other.videos)
    assert any(len(one.moments) < len(one.videos) for one in answers)


def test_options_of_the_answer(search: CorpusInferencer) -> None:
    ask = dict(num_videos=7, num_fused=7)
    (everything,) = search(SENTENCES[0], num_moments=1000, **ask)
    (three,) = search(SENTENCES[0], num_moments=3, **ask)
    assert three['moments'] == everything['moments'][:3]
    (single,) = search(SENTENCES[0], num_moments=1000, per_video=1, **ask)
    assert len({m['video_id'] for m in single['moments']}) == len(single['moments']) == 7
    middle = everything['moments'][4]['probability']
    (likely,) = search(SENTENCES[0], num_moments=1000, no_moment_threshold=middle, **ask)
    assert likely['moments'] == everything['moments'][:5]
    (nothing,) = search(SENTENCES[0], no_moment_threshold=1.0, **ask)
    assert (nothing['no_moment'], nothing['moments']) == (True, [])


def test_filters_leave_only_what_passes(search: CorpusInferencer) -> None:
    where = SearchFilter(conditions=[('tags', 'has', 'odd'), ('number', '<', 5)])
    for mode in ('fast', 'full', 'exact'):
        (result,) = search(SENTENCES[0], mode=mode, where=where, num_moments=100)
        assert {m['video_id'] for m in result['moments']} == {'v1', 'v3'}


def test_steps_are_timed(search: CorpusInferencer) -> None:
    search(SENTENCES[0])
    steps = ['encode_queries', 'filter', 'level1', 'level2', 'names', 'encode_videos', 'fuse']
    assert list(search.timings) == [*steps, 'merge']
    search(SENTENCES[0], mode='fast')
    assert list(search.timings) == steps[:5]


def test_the_memory_draws_queries_towards_what_it_knows(search: CorpusInferencer) -> None:
    model = search.model
    queries = model.encode_query([SENTENCES[0]])
    (before,) = search(SENTENCES[0], mode='fast')
    model.memory.push(queries.meaning.detach(), torch.eye(16)[:1])
    (off,) = search(SENTENCES[0], mode='fast')
    (on,) = search(SENTENCES[0], mode='fast', transfer=0.5)
    assert rows_of(off) == rows_of(before)
    assert rows_of(on) != rows_of(before)
    memory, model.memory = model.memory, None
    try:
        with pytest.raises(ValueError, match='no semantic memory'):
            search(SENTENCES[0], transfer=0.5)
    finally:
        model.memory = memory


@pytest.mark.parametrize(
    ('wrong', 'error'),
    [
        (dict(mode='quick'), ValueError),
        (dict(num_fuse=3), TypeError),
        (dict(num_moments=0), ValueError),
        (dict(mode='fast', no_moment_threshold=0.5), ValueError),
    ],
)
def test_wrong_options_are_refused(
    search: CorpusInferencer, wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        search(SENTENCES[0], **wrong)
    with pytest.raises(ValueError, match='queries is empty'):
        search([])


def test_an_index_of_other_weights_is_refused(corpus: SmallCorpus, tmp_path: Path) -> None:
    maker = CorpusInferencer(corpus.config, corpus.checkpoint, device='cpu')
    maker.build_index(dict(INDEX, path=str(tmp_path / 'index')))
    again = CorpusInferencer(corpus.config, corpus.checkpoint, tmp_path / 'index', device='cpu')
    assert again(SENTENCES[0]) == maker(SENTENCES[0])
    torch.manual_seed(3)
    with pytest.raises(IndexMismatchError, match='model'):
        CorpusInferencer(corpus.config, None, tmp_path / 'index', device='cpu')
    with pytest.raises(ValueError, match='no index'):
        CorpusInferencer(corpus.config, corpus.checkpoint, device='cpu')(SENTENCES[0])


@pytest.mark.parametrize('change', ['features', 'seconds', 'meta', 'pipeline', 'dataset'])
def test_encodings_on_disk_are_of_the_same_data_set(tmp_path: Path, change: str) -> None:
    """An index is of the features, durations and metadata of now."""
    corpus = make_small_corpus(tmp_path / 'small')
    config, annotations = Config.fromfile(corpus.config), tmp_path / 'small' / 'corpus.jsonl'
    given = config.test_dataloader.dataset

    def entries(cache_dir: Path | None) -> list[VideoEntry]:
        videos = DATASETS.build(given) if change == 'dataset' else None
        made = CorpusInferencer(config, corpus.checkpoint, videos=videos, cache_dir=cache_dir)
        source = made.entries(None)[0]
        return list(source.load(source.ids()))

    before = entries(tmp_path / 'cache')
    if change in ('features', 'dataset'):
        shutil.copytree(tmp_path / 'small' / 'features', tmp_path / 'small' / 'other')
        for video_id, rows in corpus.features.items():
            np.save(tmp_path / 'small' / 'other' / f'{video_id}.npy', rows[::-1])
        given = copy.deepcopy(given)
        given.features.visual.path = 'other'
        if change == 'features':
            config.test_dataloader.dataset = given
    elif change == 'pipeline':
        given.pipeline[1].num_clips = 8
    else:
        old, new = dict(seconds=('26.0', '25.0'), meta=('odd', 'strange'))[change]
        annotations.write_text(annotations.read_text().replace(old, new))
    fresh, kept = entries(None), entries(tmp_path / 'cache')
    close = dict(rtol=0, atol=2e-3)  # the disk keeps half precision
    for one, two in zip(fresh, kept):
        np.testing.assert_allclose(two.moments, one.moments, **close)
        np.testing.assert_allclose(two.spans, one.spans, rtol=1e-5)
        assert (two.duration, two.metadata) == (one.duration, one.metadata)
    told = [(e.moments.sum(), e.duration, str(e.metadata)) for e in (*before, *fresh)]
    assert told[: len(before)] != told[len(before) :]
    count = len(list((tmp_path / 'cache').iterdir()))
    entries(tmp_path / 'cache')
    assert len(list((tmp_path / 'cache').iterdir())) == count


def test_the_key_of_a_video_is_another_once_its_features_are_others(tmp_path: Path) -> None:
    corpus = make_small_corpus(tmp_path)

    def keys() -> list[str]:
        dataset = DATASETS.build(Config.fromfile(corpus.config).test_dataloader.dataset)
        videos = DatasetVideos(dataset)
        return [videos.key(name) for name in ('v0', 'v1')]

    before = keys()
    np.save(tmp_path / 'features' / 'v0.npy', corpus.features['v0'][:9])
    after = keys()
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize('joined', [False, True])
def test_a_corpus_has_the_videos_of_which_nobody_asked(corpus: SmallCorpus, joined: bool) -> None:
    """Whether or not the config says that the data set is one to test on."""
    config = Config.fromfile(corpus.config)
    given = config.test_dataloader.dataset
    del given['test_mode']
    if joined:
        config.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[given])
    assert len(dataset_videos(config).ids()) == len(LENGTHS)
    assert 'test_mode' not in given


def test_a_video_whose_features_are_gone_is_left_out(tmp_path: Path) -> None:
    corpus = make_small_corpus(tmp_path / 'small')
    search = CorpusInferencer(corpus.config, corpus.checkpoint)
    bank = search.entries(None)[0].bank
    first, *others = bank.source.ids()
    assert list(bank([first])) == [first]
    file = tmp_path / 'small' / 'features' / f'{first}.npy'
    away = file.rename(tmp_path / 'away')
    assert list(bank([first, *others])) == others
    assert list(bank.failures) == [first]
    assert 'No such file' in bank.failures[first]
    away.rename(file)
    assert list(bank([first])) == [first]
    assert not bank.failures


def test_listed_videos_with_a_broken_one(
    corpus: SmallCorpus, search: CorpusInferencer, tmp_path: Path
) -> None:
    """A video that cannot be read is left out, first of the index and later of fusion."""
    for video_id, rows in corpus.features.items():
        np.save(tmp_path / f'{video_id}.npy', rows)
    files = sorted(tmp_path.glob('*.npy'))
    durations = [corpus.durations[file.stem] for file in files]
    files[1].write_bytes(b'broken')
    listed = CorpusInferencer(
        corpus.config, corpus.checkpoint, videos=files, durations=durations, device='cpu'
    )
    index = listed.build_index(INDEX)
    assert index.stats()['videos'] == len(LENGTHS) - 1
    others = SearchFilter(video_ids=[f.stem for f in files if f != files[1]])
    wide = dict(EVERYTHING, num_videos=6)
    (one,), (two,) = listed(SENTENCES[0], **wide), search(SENTENCES[0], where=others, **wide)
    assert_same_rows(rows_of(one), rows_of(two))
    fewer = CorpusInferencer(
        corpus.config,
        corpus.checkpoint,
        index,
        videos=files[2:],
        durations=durations[2:],
        device='cpu',
    )
    (result,) = fewer(SENTENCES[0], **wide)
    unfused = {m['video_id'] for m in result['moments'] if m['probability'] is None}
    assert unfused == {files[0].stem}


def test_entries_are_the_cells_inside_each_video(
    corpus: SmallCorpus, search: CorpusInferencer, entries: list[VideoEntry]
) -> None:
    for entry, length in zip(entries, LENGTHS):
        length = min(length, 32)
        assert entry.duration == corpus.durations[entry.video_id]
        assert len(entry.moments) == sum(-(-length // 2**k) for k in range(4))
        entry.check(16)
        assert (entry.spans >= 0).all()
        assert (entry.spans <= entry.duration).all()
    assert entries[1].metadata == dict(tags=['odd'], number=1)
    made = CorpusInferencer(corpus.config, corpus.checkpoint)
    source, prints = made.entries([2, 3])
    for coarse, entry, length in zip(source.load(source.ids()), entries, LENGTHS):
        number = sum(-(-min(length, 32) // 2**k) for k in (2, 3))
        np.testing.assert_allclose(coarse.moments, entry.moments[-number:])
    assert prints != made.entries(None)[1]
    with pytest.raises(ValueError, match='levels'):
        list(made.entries([4])[0].load(['v0']))


def test_seams_of_the_index_tools(corpus: SmallCorpus, search: CorpusInferencer) -> None:
    source, prints = CorpusInferencer(corpus.config, corpus.checkpoint).entries(None)
    index: MomentIndex = INDEXES.build(dict(INDEX, **prints))
    index.build(source)
    model, _, fingerprint = load_model(corpus.config, corpus.checkpoint)
    vectors = encode_queries(model, SENTENCES[:2]).shared.float().cpu().numpy()
    assert model.head.joint.words_weight.item() == 0
    assert prints['model_fingerprint'] == fingerprint == search.fingerprint
    hits = index.search(vectors, num_moments=5).hits
    expected = search.index.search(
        search.model.encode_query(list(SENTENCES[:2])).shared.detach().numpy(), num_moments=5
    ).hits
    for one, two in zip(hits, expected):
        assert one.video_ids == two.video_ids
        np.testing.assert_allclose(one.scores, two.scores, **CLOSE)


def test_a_fast_session_is_loaded_without_features(tmp_path: Path) -> None:
    corpus = make_small_corpus(tmp_path / 'small')
    given, place = (corpus.config, corpus.checkpoint), tmp_path / 'index'
    made = CorpusInferencer(*given, device='cpu')
    made.build_index(dict(INDEX, path=str(place)))
    session = made.session(SENTENCES[0], options=dict(mode='fast'))
    session.save(tmp_path / 'fast.json')
    made.session(SENTENCES[0]).save(tmp_path / 'full.json')
    shutil.rmtree(tmp_path / 'small' / 'features')
    search = CorpusInferencer(*given, place, device='cpu')
    assert search.load_session(tmp_path / 'fast.json').results == session.results
    with pytest.raises(FileNotFoundError, match='no feature folder'):
        search.load_session(tmp_path / 'full.json')


def test_a_session_with_fusion(search: CorpusInferencer, tmp_path: Path) -> None:
    options = dict(num_moments=8, num_fused=len(LENGTHS), num_videos=len(LENGTHS))
    session = search.session(SENTENCES[0], options=options, weights=dict(liked=0.5))
    (expected,) = search(SENTENCES[0], num_moments=8, num_fused=7, num_videos=7)
    first = [(m.video_id, m.start, m.end, m.score) for m in session.results]
    assert_same_rows(first, rows_of(expected))
    session.like(5)
    liked = session.state.liked[0]
    place = [(m.video_id, m.start, m.end) for m in session.results].index(tuple(liked))
    assert place < 4
    assert all(0 < m.score < 1 and m.probability is not None for m in session.results)
    session.exclude(liked.video_id)
    assert liked.video_id not in {m.video_id for m in session.results}
    session.save(tmp_path / 'session.json')
    again = search.load_session(tmp_path / 'session.json')
    assert again.results == session.results
    session.undo(2)
    assert [(m.video_id, m.start, m.end, m.score) for m in session.results] == first
    with pytest.raises(TypeError, match='unexpected'):
        search.session(SENTENCES[0], options=dict(num_moment=1))
