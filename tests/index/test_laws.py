"""What must hold for every backend."""

import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demul_mm.index import (
    ExactIndex,
    FaissIndex,
    MomentIndex,
    SearchFilter,
    VideoEntry,
    parse_condition,
)
from demul_mm.index.codecs import import_faiss
from demul_mm.index.faiss_index import make_structure, search_parameters
from demul_mm.registry import INDEXES
from demul_mm.structures import pairwise_iou
from demul_mm.structures.nms import MomentNMS

from .corpus import (
    DIM,
    Source,
    assert_same_hits,
    brute_force,
    make_entries,
    make_queries,
    unit,
)

NUMBER = 1200
DEEP = dict(num_videos=NUMBER * 2, num_moments=300)


@pytest.fixture(scope='module')
def entries() -> list[VideoEntry]:
    return make_entries(NUMBER)


@pytest.fixture(scope='module')
def queries() -> np.ndarray:
    return make_queries(7)


KINDS = ['exact', 'flat', 'hnsw', 'ivf_sq']


def make_index(kind: str) -> MomentIndex:
    return (
        ExactIndex(segment_videos=500)
        if kind == 'exact'
        else FaissIndex(segment_videos=500, kind=kind)
    )


@pytest.fixture(scope='module', params=KINDS)
def index(request: pytest.FixtureRequest, entries: list[VideoEntry]) -> MomentIndex:
    """Searched, never changed."""
    made = make_index(request.param)
    made.build(entries)
    return made


@pytest.fixture
def own_index(index: MomentIndex, tmp_path: Path) -> MomentIndex:
    """To be changed: a copy."""
    return MomentIndex.open(shutil.copytree(index.path, tmp_path / 'own'))


def test_exact_search_is_brute_force(entries: list[VideoEntry], queries: np.ndarray) -> None:
    index = ExactIndex(segment_videos=500, level2='fp16')
    index.build(entries)
    for query, hits in zip(queries, index.search(queries, num_moments=50).hits):
        truth = brute_force(entries, query, 50)
        np.testing.assert_allclose(hits.scores, [t[3] for t in truth], atol=2e-3)
        # Half precision may swap neighbours, no more.
        assert len(set(hits.video_ids) ^ {t[0] for t in truth}) <= 4


def test_fast_equals_exact_when_depth_covers_everything(
    index: MomentIndex, queries: np.ndarray
) -> None:
    fast = index.search(queries, **DEEP)
    exact = index.search(queries, mode='exact', **DEEP)
    assert_same_hits(fast.hits, exact.hits)


def test_exact_mode_does_not_depend_on_num_videos(index: MomentIndex, queries: np.ndarray) -> None:
    """The N best moments lie in the N best videos."""
    few = index.search(queries, num_moments=40, num_videos=40, mode='exact')
    all_of_them = index.search(queries, num_moments=40, num_videos=NUMBER, mode='exact')
    for a, b in zip(few.hits, all_of_them.hits):
        assert a.video_ids == b.video_ids
        np.testing.assert_array_equal(a.spans, b.spans)


def test_level1_loses_little(index: MomentIndex, entries: list[VideoEntry]) -> None:
    """Queries near a moment, a tenth of the corpus as depth."""
    rng = np.random.default_rng(1)
    targets = [entries[i] for i in rng.choice(NUMBER, 60, replace=False)]
    noise = unit(rng.standard_normal((60, DIM)))
    queries = unit(np.stack([t.moments[0] for t in targets]) + 0.5 * noise)
    result = index.search(queries, num_videos=30, num_candidates=120)
    found = sum(t.video_id in hits.videos for t, hits in zip(targets, result.hits))
    assert found >= 59


def test_batch_equals_single(index: MomentIndex, queries: np.ndarray) -> None:
    batch = index.search(queries, num_videos=50)
    singles = [index.search(query[None], num_videos=50).hits[0] for query in queries]
    assert_same_hits(batch.hits, singles, atol=1e-6)


def test_build_order_does_not_matter(entries: list[VideoEntry], queries: np.ndarray) -> None:
    first, second = ExactIndex(segment_videos=500), ExactIndex(segment_videos=333)
    first.build(entries)
    second.build([entries[i] for i in np.random.default_rng(0).permutation(NUMBER)])
    assert_same_hits(first.search(queries).hits, second.search(queries).hits, atol=1e-6)


def test_add_then_remove_is_before(own_index: MomentIndex, queries: np.ndarray) -> None:
    before = own_index.search(queries)
    exact = own_index.search(queries, mode='exact')
    own_index.add(make_entries(90, 'new'))
    between = own_index.search(queries)
    assert any('new' in name for hits in between.hits for name in hits.video_ids)
    assert own_index.remove([f'new{i}' for i in range(90)]) == 90
    after = own_index.search(queries)
    # The last of 200 videos may differ where level 1 is approximate; the moments do not.
    assert [h.video_ids for h in after.hits] == [h.video_ids for h in before.hits]
    assert_same_hits(own_index.search(queries, mode='exact').hits, exact.hits, atol=1e-6)
    own_index.compact()
    assert own_index.stats()['removed'] == 0
    assert_same_hits(own_index.search(queries, mode='exact').hits, exact.hits, atol=1e-6)


def test_adding_equals_building(entries: list[VideoEntry], queries: np.ndarray) -> None:
    whole, grown = FaissIndex(), FaissIndex()
    whole.build(entries)
    grown.build(entries[:600])
    for start in range(600, NUMBER, 50):  # enough small segments to be merged
        grown.add(entries[start : start + 50])
    assert grown.stats()['fragments'] <= 10
    assert grown.stats()['videos'] == NUMBER
    assert_same_hits(grown.search(queries).hits, whole.search(queries).hits, atol=1e-6)


def test_merging_small_segments_keeps_removals(
    entries: list[VideoEntry], queries: np.ndarray
) -> None:
    index, reference = ExactIndex(), ExactIndex()
    index.build(entries[:300])
    for start in range(300, 800, 50):
        index.add(entries[start : start + 50])
        index.remove([f'v{start + 7}', f'v{start // 5}'])
    gone = {f'v{s + 7}' for s in range(300, 800, 50)} | {f'v{s // 5}' for s in range(300, 800, 50)}
    reference.build([e for e in entries[:800] if e.video_id not in gone])
    assert index.stats()['videos'] == reference.stats()['videos']
    assert_same_hits(index.search(queries).hits, reference.search(queries).hits, atol=1e-6)


def test_replacing(entries: list[VideoEntry]) -> None:
    index = FaissIndex()
    index.build(entries[:50])
    query = entries[60].moments[0]
    other = VideoEntry('v3', entries[60].moments, entries[60].spans, 60.0)
    with pytest.raises(ValueError, match="'v3' is in the index already"):
        index.add([other])
    index.add([other], on_existing='skip')
    assert index.search(query[None]).hits[0].video_ids[0] != 'v3'
    index.add([other], on_existing='replace')
    hits = index.search(query[None]).hits[0]
    assert (hits.video_ids[0], index.stats()['videos']) == ('v3', 50)
    assert hits.scores[0] == pytest.approx(1, abs=2e-3)
    assert index.remove(['v3']) == 1
    assert 'v3' not in index.search(query[None]).hits[0].videos
    with pytest.raises(KeyError, match=r"1 videos are not in the index, e\.g\. 'v3'"):
        index.remove(['v3'])


@pytest.mark.parametrize(
    'where',
    [
        SearchFilter(video_ids=[f'v{i}' for i in range(0, NUMBER, 3)] + ['unknown']),
        SearchFilter(conditions=[('date', '>=', '2024-06-01'), ('tags', 'has', 'sport')]),
        SearchFilter(conditions=[('views', 'in', [5, 7, 11])]),
        SearchFilter(predicate=lambda values: not values),
    ],
    ids=['ids', 'conditions', 'few', 'predicate'],
)
def test_filter_equals_filtering_afterwards(
    index: MomentIndex, queries: np.ndarray, where: SearchFilter
) -> None:
    mask = where.mask(index.snapshot)
    assert 0 < mask.sum() < NUMBER
    allowed = set(index.snapshot.video_ids(np.flatnonzero(mask)))
    everything = index.search(queries, num_videos=NUMBER, num_moments=20_000, mode='exact')
    for mode in ('fast', 'exact'):
        found = index.search(queries, num_videos=NUMBER, num_moments=80, where=where, mode=mode)
        for got, full in zip(found.hits, everything.hits):
            kept = [i for i, name in enumerate(full.video_ids) if name in allowed][:80]
            assert got.video_ids == [full.video_ids[i] for i in kept]
            np.testing.assert_array_equal(got.spans, full.spans[kept])


def test_filter_in_the_fast_path(entries: list[VideoEntry]) -> None:
    """More videos pass than level 1 may hand over, so that the selector itself is used."""
    large = [*entries, *make_entries(1400, 'w')]
    where = SearchFilter(predicate=lambda values: bool(values))
    queries = unit(np.stack([e.moments[0] for e in large[1::40]]))
    for kind in ('hnsw', 'ivf_sq'):
        index = FaissIndex(kind=kind)
        index.build(large)
        index.remove(['v1'])
        hits = index.search(queries, num_videos=50, num_candidates=100, where=where).hits
        odd = {e.video_id for e in large[1::2]} - {'v1'}
        assert all(set(h.videos) <= odd and len(h.videos) == 50 for h in hits)
        exact = index.search(queries, num_videos=50, where=where, mode='exact').hits
        assert [h.videos[0] for h in hits] == [h.videos[0] for h in exact]


def test_what_few_filters_leave_out_is_no_candidate_of_level_1(entries: list[VideoEntry]) -> None:
    index, query = FaissIndex(kind='flat'), make_queries(1)
    index.build(entries)
    options = dict(num_videos=10, num_candidates=20, keep_candidates=True)
    best = index.search(query, **options).hits[0].videos
    left = index.search(query, where=SearchFilter(excluded_ids=best[:5]), **options).hits[0]
    assert not set(left.candidate_ids or []) & set(best[:5])
    assert left.videos[:5] == best[5:]
    index.remove(best[:5])
    assert not set(index.search(query, **options).hits[0].videos) & set(best[:5])


def test_the_fewer_videos_are_allowed_the_deeper_is_the_search() -> None:
    faiss = import_faiss()
    index = faiss.index_factory(8, 'IVF16,SQ8', faiss.METRIC_INNER_PRODUCT)
    index.nprobe = 4
    depths = [search_parameters(index, {}, 10, None, share).nprobe for share in (1.0, 0.5, 0.01)]
    assert depths == [4, 8, 16]
    assert search_parameters(index, dict(nprobe=3), 10, None, 0.5).nprobe == 3


def test_nms_inside_videos(index: MomentIndex, queries: np.ndarray) -> None:
    import torch

    nms = MomentNMS(iou_thr=0.3, max_keep=20)
    plain = index.search(queries, num_moments=20_000, num_videos=50, mode='exact')
    kept = index.search(queries, num_moments=20_000, num_videos=50, mode='exact', nms=nms)
    for full, few in zip(plain.hits, kept.hits):
        assert few.videos == full.videos
        assert (np.diff(few.scores) <= 0).all()
        for video in few.videos:
            mine = [i for i, name in enumerate(few.video_ids) if name == video]
            theirs = [i for i, name in enumerate(full.video_ids) if name == video]
            iou = pairwise_iou(
                torch.from_numpy(few.spans[mine]), torch.from_numpy(full.spans[theirs])
            )
            overlap = iou[:, [theirs.index(t) for t in theirs]]
            # Every moment is one that was kept or overlaps a better one that was.
            assert bool((overlap > 0.3).any(0).all())
            assert few.scores[mine[0]] == full.scores[theirs[0]]


@pytest.mark.parametrize('nms', [None, MomentNMS(0.3, 20), MomentNMS(0.3, 20, vote_iou=0.7)])
def test_few_moments_are_the_first_of_many(
    index: MomentIndex, queries: np.ndarray, nms: MomentNMS | None
) -> None:
    options = dict(num_videos=50, mode='exact', nms=nms)
    many = index.search(queries, num_moments=20_000, **options).hits
    for number in (1, 2, 3, 30):
        few = index.search(queries, num_moments=number, **options).hits
        for all_of_them, best in zip(many, few):
            assert best.video_ids == all_of_them.video_ids[:number]
            assert np.array_equal(best.spans, all_of_them.spans[:number])
            assert np.array_equal(best.scores, all_of_them.scores[:number])


def test_depths_are_respected(index: MomentIndex, queries: np.ndarray) -> None:
    result = index.search(
        queries, num_moments=17, num_videos=9, num_candidates=33, keep_candidates=True
    )
    assert set(result.timings) == {'filter', 'level1', 'level2', 'names'}
    for hits in result.hits:
        assert len(hits.video_ids) == len(hits.spans) == len(hits.scores) == 17
        assert len(hits.videos) == len(set(hits.videos)) == 9
        assert hits.candidates == len(set(hits.candidate_ids or [])) == 33
        assert set(hits.videos) <= set(hits.candidate_ids or [])
        assert set(hits.video_ids) <= set(hits.videos)


def test_product_quantised_index(
    entries: list[VideoEntry], queries: np.ndarray, tmp_path: Path
) -> None:
    index = FaissIndex(tmp_path / 'pq', level2='pq2', segment_videos=500)
    index.build(entries)
    index.add(make_entries(30, 'new'))  # with the codebook of the build
    plain = ExactIndex()
    plain.build([*entries, *make_entries(30, 'new')])
    assert index.stats()['bytes_by_part']['moments'] == index.stats()['moments'] * DIM // 2
    for a, b in zip(index.search(queries).hits, plain.search(queries).hits):
        assert len(set(a.video_ids[:20]) & set(b.video_ids[:20])) >= 10
        assert a.scores[0] == pytest.approx(b.scores[0], abs=0.12)
    exact = index.search(queries, mode='exact').hits
    index.remove(['v4'])
    index.compact()
    index.add([entries[4]])
    assert_same_hits(index.search(queries, mode='exact').hits, exact, atol=1e-6)


def test_opening_finds_what_was_built(index: MomentIndex, queries: np.ndarray) -> None:
    opened = MomentIndex.open(index.path)
    assert_same_hits(opened.search(queries).hits, index.search(queries).hits)
    assert opened.stats() == index.stats()


def test_every_fragment_has_a_structure_of_its_own(
    entries: list[VideoEntry], queries: np.ndarray
) -> None:
    index = FaissIndex(kind='ivf_sq')
    index.build(entries[:600])
    assert index.stats()['level1']['kind'] == 'ivf_sq'
    index.add(entries[600:620])  # so few are scanned
    index.add(entries[620:])
    assert index.stats()['fragments'] == 3
    assert len(list((index.path / 'cache').glob('*.ivf_sq.faiss'))) == 2
    grown = index.search(queries, num_videos=NUMBER // 4).hits
    exact = index.search(queries, mode='exact').hits
    assert [h.video_ids[:20] for h in grown] == [h.video_ids[:20] for h in exact]


@pytest.mark.parametrize('kind', ['flat', 'ivf_sq'])
def test_a_structure_is_made_of_some_prototypes_at_a_time(kind: str) -> None:
    faiss = pytest.importorskip('faiss')
    rng = np.random.default_rng(0)
    whole = unit(rng.standard_normal((200_000, DIM)).astype(np.float32))

    def source(step: int) -> SimpleNamespace:
        parts = range(0, len(whole), step)
        return SimpleNamespace(
            owners=np.arange(len(whole)),
            sample=lambda number: whole[:number],
            prototypes=lambda: (whole[i : i + step].copy() for i in parts),
        )

    tracemalloc.start()
    made = make_structure(kind, source(1000), 0.98)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.nbytes / 4
    once = make_structure(kind, source(len(whole)), 0.98)
    assert np.array_equal(faiss.serialize_index(made), faiss.serialize_index(once))


def test_a_sample_of_prototypes(entries: list[VideoEntry]) -> None:
    index = FaissIndex(num_prototypes=2)
    index.build(entries)
    (fragment,) = index.snapshot.fragments
    whole = np.concatenate(list(fragment.prototypes()))
    assert len(whole) == len(fragment.owners) == 2 * NUMBER
    assert np.array_equal(fragment.sample(3 * NUMBER), whole)
    some = fragment.sample(500)
    places = [int((whole == row).all(1).argmax()) for row in some]
    assert np.array_equal(whole[places], some)
    assert places == sorted(set(places))
    assert len(some) == 500


def test_registry_and_source(entries: list[VideoEntry]) -> None:
    index = INDEXES.build(dict(type='FaissIndex', kind='flat', num_prototypes=2))
    source = Source(entries[:30])
    passed: list[int] = []
    index.build(source, progress=passed.append)
    assert (index.stats()['videos'], sum(passed)) == (30, 30)
    assert index.stats()['prototypes'] <= 60
    assert source.loaded == source.ids()


def test_conditions_as_typed() -> None:
    assert parse_condition('date>=2024-05-01') == ('date', '>=', '2024-05-01')
    assert parse_condition(' tags has cooking show ') == ('tags', 'has', 'cooking show')
    assert parse_condition('views > 100') == ('views', '>', '100')
    assert parse_condition('channel in a, 7') == ('channel', 'in', ['a', '7'])
    with pytest.raises(ValueError, match='is no condition'):
        parse_condition('cooking')
    with pytest.raises(ValueError, match='operators are'):
        SearchFilter(conditions=[('a', '~', 1)])


def tagged(values: list) -> ExactIndex:
    """A video for each of these metadata."""
    index = ExactIndex()
    index.build(
        VideoEntry(f'{i}', e.moments, e.spans, 60.0, metadata)
        for i, (e, metadata) in enumerate(zip(make_entries(len(values)), values))
    )
    return index


@pytest.mark.parametrize(
    ('condition', 'expected'),
    [
        ('code == 007', ['0']),  # digits stay text beside text
        ('code in 7, 07', ['1']),
        ('live == true', ['1', '2']),
        ('live != true', ['0']),
        ('fps > 25', ['1']),
        ('fps >= 24.5', ['0', '1']),
        ('views > 2.5', ['1']),
        ('tags has b', ['0', '1']),
        ('code has 0', ['0']),
    ],
)
def test_a_condition_is_read_as_what_the_metadata_holds(condition: str, expected: list) -> None:
    index = tagged(
        [
            dict(code='007', live=False, fps=25, views=2, tags=['a', 'b']),
            dict(code='7', live=True, fps=29.97, views=3, tags=['b']),
            dict(live=True, tags=[]),
            None,
            {},
        ]
    )
    where = SearchFilter(conditions=[parse_condition(condition)])
    hits = index.search(make_queries(1), where=where).hits[0]
    assert sorted(hits.videos) == expected
    assert [entry.metadata for entry in index.get(['2', '3', '4'])] == [
        dict(live=True, tags=[]),
        None,
        {},
    ]


def test_metadata_that_cannot_be_asked_for() -> None:
    index = tagged([dict(date='2024', live=True), dict(views=3), dict(views='many')])

    def search(*condition: object) -> None:
        index.search(make_queries(1), where=SearchFilter(conditions=[condition]))

    with pytest.raises(ValueError, match="no video has metadata 'dat'; there are date, live"):
        search('dat', '==', '2024')
    with pytest.raises(ValueError, match="'views' is of different types in different videos"):
        search('views', '>', 2)
    with pytest.raises(ValueError, match="'live' is of type bool, which cannot be compared"):
        search('live', '==', 'maybe')


def test_an_index_knows_nothing_of_models_and_nothing_is_said_of_workers() -> None:
    code = (
        'import os, sys, demul_mm.index\n'
        'assert not [name for name in sys.modules if name.startswith("demul_mm.models")]\n'
        'os.fork() and os.wait()\n'
    )
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert not done.stderr


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='quick'), "mode is 'quick'; allowed: 'fast', 'exact'"),
        (dict(num_moments=0), 'must be at least 1'),
        (dict(num_videos=10, num_candidates=5), 'no less than num_videos'),
        (dict(options=dict(nprob=3), num_videos=5), r'no (search )?options.*nprob'),
        (dict(where=SearchFilter(conditions=[('views', '>', 'x')])), 'cannot be compared'),
    ],
)
def test_wrong_search_options(
    index: MomentIndex, queries: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(queries, **options)


@pytest.mark.parametrize('mode', ['fast', 'exact'])
@pytest.mark.parametrize('kind', KINDS)
def test_wrong_options_of_level_1_are_refused_whatever_the_size(
    queries: np.ndarray, kind: str, mode: str
) -> None:
    few = make_index(kind)
    few.build(make_entries(5))
    with pytest.raises(ValueError, match=r'no (search )?options.*nporbe'):
        few.search(queries, mode=mode, options=dict(nporbe=64))
    if kind == 'exact':
        return
    assert few.search(queries, mode=mode, options=dict(nprobe=2, ef_search=9)).hits
    for wrong, error in ((-1, ValueError), (0, ValueError), ('a', TypeError), (2.5, TypeError)):
        for name in ('nprobe', 'ef_search'):
            with pytest.raises(error, match=name):
                few.search(queries, mode=mode, options={name: wrong})


def test_wrong_queries(index: MomentIndex) -> None:
    with pytest.raises(ValueError, match=r'queries are \(2, 5\); this index needs \(Q, 32\)'):
        index.search(np.zeros((2, 5)))
    with pytest.raises(ValueError, match='NaN'):
        index.search(np.full((1, DIM), np.nan))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(moments=np.zeros((0, DIM))), r'\(M, S\), M >= 1'),
        (dict(moments=unit(np.ones((3, 8)))), '8 dimensions, the index has 32'),
        (dict(moments=2 * unit(np.ones((3, DIM)))), 'length 2; moments must be L2-normalised'),
        (dict(moments=np.full((3, DIM), np.nan)), 'length nan'),
        (dict(spans=np.zeros((2, 2))), r'spans are \(2, 2\); they must be \(3, 2\)'),
        (dict(spans=np.array([[3.0, 1], [0, 1], [0, 1]])), 'ends before it starts'),
        (dict(video_id=''), 'non-empty'),
        (dict(video_id='v0'), "'v0' is given twice"),
    ],
)
def test_wrong_entries(tmp_path, change: dict, message: str) -> None:
    good = make_entries(1)
    fields = dict(
        video_id='bad', moments=unit(np.ones((3, DIM))), spans=np.zeros((3, 2)), duration=1.0
    )
    index = ExactIndex(tmp_path / 'index')
    with pytest.raises(ValueError, match=message):
        index.build([*good, VideoEntry(**(fields | change))])
    assert not list((tmp_path / 'index').rglob('*.tmp'))
    with pytest.raises(FileNotFoundError, match='holds no index'):
        index.search(make_queries(1))


def test_nothing_to_build(tmp_path) -> None:
    with pytest.raises(ValueError, match='no videos were given'):
        ExactIndex(tmp_path).build([])


def test_everything_removed(queries: np.ndarray) -> None:
    index = FaissIndex()
    index.build(make_entries(20))
    counts = [len(entry.moments) for entry in make_entries(20)]
    assert index.stats()['moments'] == sum(counts)
    index.remove([f'v{i}' for i in range(12)])
    assert index.stats()['moments'] == index.stats()['prototypes'] == sum(counts[12:])
    index.remove([f'v{i}' for i in range(12, 20)])
    assert index.stats()['moments'] == 0
    assert index.search(queries).hits[0].video_ids == []
    index.compact()
    assert index.search(queries, mode='exact').hits[0].videos == []
    index.add(make_entries(5, 'again'))
    assert index.stats()['videos'] == 5


def test_videos_come_back_as_they_are_stored(index: MomentIndex, entries: list[VideoEntry]) -> None:
    chosen = [entries[7], entries[0], entries[-1]]
    for stored, given in zip(index.get([e.video_id for e in chosen]), chosen):
        np.testing.assert_allclose(stored.moments, given.moments, atol=0.01)
        np.testing.assert_array_equal(stored.spans, given.spans)
        assert stored.video_id == given.video_id
        assert (stored.duration, stored.metadata) == (given.duration, given.metadata)
    with pytest.raises(KeyError, match="'absent'"):
        index.get(['absent'])


def test_what_was_removed_cannot_be_had() -> None:
    index = ExactIndex()
    index.build(make_entries(6))
    index.remove('v2')
    with pytest.raises(KeyError, match="'v2'"):
        index.get('v2')
    assert [entry.video_id for entry in index.get(['v3', 'v1'])] == ['v3', 'v1']


def test_excluded_videos_are_not_found(index: MomentIndex, queries: np.ndarray) -> None:
    everything = index.search(queries[:1], mode='exact').hits[0]
    gone = everything.videos[:3]
    where = SearchFilter(excluded_ids=[*gone, 'absent'])
    left = index.search(queries[:1], mode='exact', where=where).hits[0]
    assert left.videos[:-3] == everything.videos[3:]
    assert not set(gone) & set(index.search(queries[:1], where=where).hits[0].videos)


def test_ids_that_are_not_there_exclude_nothing() -> None:
    index = ExactIndex()
    index.build(make_entries(5))
    where = SearchFilter(excluded_ids=['absent', 'v1'])
    found = index.search(make_queries(1), where=where).hits[0].videos
    assert sorted(found) == ['v0', 'v2', 'v3', 'v4']
