"""Bootstrap intervals over videos, and the pooling of folds."""

from pathlib import Path

import numpy as np
import pytest

from demul_mm.evaluation.intervals import (
    QueryValues,
    bootstrap,
    mean_values,
    paired_bootstrap,
    query_values,
)
from demul_mm.evaluation.metrics import (
    CorpusMomentMetric,
    DiDeMoMetric,
    MomentRecall,
    QVHighlightsMetric,
)
from demul_mm.evaluation.pooling import fold_runs, mean_over_queries, pool, pooled_report

RECALL = MomentRecall(topk=(1,), ious=(0.5,))


def random_entries(num: int, noise: float, seed: int, first: int = 0) -> list[dict]:
    """Queries, four a video, whose predictions miss by ``noise`` seconds."""
    rng = np.random.default_rng(seed)
    entries = []
    for i in range(first, first + num):
        start = rng.uniform(0, 60)
        end = start + rng.uniform(2, 40)
        error = rng.normal(0, noise, 2)
        pred = [[start + error[0], max(end + error[1], start + error[0]), rng.uniform()]]
        entries.append(
            dict(
                query_id=f'q{i}', video_id=f'v{i // 4}', query='', duration=100.0,
                gt=[[start, end]], pred=pred,
            )
        )  # fmt: skip
    return entries


def with_corpus(entries: list[dict], seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    videos = sorted({entry['video_id'] for entry in entries})
    return [
        dict(entry, corpus=[[v, *entry['pred'][0]] for v in rng.permutation(videos)])
        for entry in entries
    ]


def test_a_bootstrap_of_a_file_with_itself_is_zero() -> None:
    """In whatever order its queries stand."""
    entries = random_entries(80, noise=4, seed=1)
    values, again = (query_values([MomentRecall()], one) for one in (entries, entries[::-1]))
    for row in paired_bootstrap(values, again, rounds=200).values():
        assert row['difference'] == row['low'] == row['high'] == 0


def test_a_bootstrap_sees_a_clear_gain_and_not_mere_noise() -> None:
    worse = random_entries(400, noise=12, seed=2)
    better = random_entries(400, noise=12, seed=2)
    for entry in better:  # half the error
        (start, end), (a, b, score) = entry['gt'][0], entry['pred'][0]
        entry['pred'] = [[(start + a) / 2, (end + b) / 2, score]]
    values = query_values([RECALL], worse)
    report = paired_bootstrap(values, query_values([RECALL], better[::-1]), rounds=500)
    row = report['R@1,IoU=0.5']
    assert row['difference'] == pytest.approx(row['second'] - row['first'])
    assert 0 < row['low'] < row['difference'] < row['high']
    with pytest.raises(ValueError, match='1 are only in the first, 0 only in the second'):
        paired_bootstrap(values, query_values([RECALL], better[1:]))


def test_values_average_to_the_metric() -> None:
    entries = with_corpus(random_entries(120, noise=6, seed=3), seed=0)
    for metric in (MomentRecall(floors=False), CorpusMomentMetric(topk=(1, 10), floors=False)):
        values = query_values([metric], entries).values
        assert {k: 100 * v.mean() for k, v in values.items()} == pytest.approx(
            metric.compute_entries(entries)
        )
    with pytest.raises(TypeError, match='DiDeMoMetric gives no value for each query'):
        query_values([DiDeMoMetric()], entries)


def test_a_metric_that_counts_no_query_is_left_out() -> None:
    """As the mean average precision of long moments is where none is long."""
    entries = [
        dict(
            query_id=str(i), video_id=f'v{i}', query='', duration=60.0,
            gt=[[0.0, 5.0]], pred=[[0.0, 5.0, 1.0]],
        )
        for i in range(4)
    ]  # fmt: skip
    metric = QVHighlightsMetric()
    kept = set(pooled_report([metric], [[entries[:2], entries[2:]]] * 2, rounds=20))
    assert 'mAP/short' in kept
    assert not kept & {'mAP/middle', 'mAP/long'}
    values = query_values([metric], entries)
    assert paired_bootstrap(values, values, rounds=20).keys() == kept
    # One counts the first query alone, the other the second.
    ids, nan = ['a', 'b'], float('nan')
    first, second = (
        QueryValues(ids, ids, {'x': np.array(row)}) for row in ([1.0, nan], [nan, 1.0])
    )
    assert bootstrap(first, rounds=20)['x']['mean'] == 100
    assert paired_bootstrap(first, second, rounds=20) == {}


def test_an_interval_needs_draws() -> None:
    values = query_values([RECALL], random_entries(8, noise=4, seed=1))
    with pytest.raises(ValueError, match='0 draws'):
        bootstrap(values, rounds=0)
    with pytest.raises(ValueError, match='-1 draws'):
        paired_bootstrap(values, values, rounds=-1)
    # So few may all miss the one video that counts.
    ids = [str(i) for i in range(50)]
    one = QueryValues(ids, ids, {'x': np.array([1.0] + [np.nan] * 49)})
    assert all(bootstrap(one, rounds=1, seed=s)['x']['mean'] == 100 for s in range(10))


def test_an_interval_draws_whole_videos() -> None:
    """Queries of one video that stand and fall together count as one draw."""
    apart = QueryValues([str(i) for i in range(400)], [str(i) for i in range(400)], {})
    hits = (np.arange(400) // 4 % 2).astype(float)
    together = apart._replace(video_ids=[str(i // 4) for i in range(400)])
    wide = bootstrap(together._replace(values={'R': hits}))['R']
    narrow = bootstrap(apart._replace(values={'R': hits}))['R']
    assert wide['mean'] == narrow['mean'] == 50
    # The standard error of a share of a half among n draws is 50 / sqrt(n) percent.
    assert narrow['high'] - narrow['low'] == pytest.approx(2 * 1.96 * 50 / 20, rel=0.1)
    assert wide['high'] - wide['low'] == pytest.approx(2 * 1.96 * 50 / 10, rel=0.1)


def test_a_query_that_is_not_counted_changes_nothing() -> None:
    values = QueryValues(list('abcd'), list('uuvw'), {'R': np.array([0, 1, 1, 0.0])})
    more = QueryValues(list('abcde'), list('uuvww'), {'R': np.array([0, 1, 1, 0, np.nan])})
    assert bootstrap(more) == bootstrap(values)


def test_an_interval_holds_its_mean_whatever_is_not_counted() -> None:
    rng = np.random.default_rng(0)
    hits = np.where(np.arange(400) % 2, np.nan, (rng.random(400) < 0.9).astype(float))
    ids = [str(i) for i in range(400)]
    row = bootstrap(QueryValues(ids, [str(i // 4) for i in range(400)], {'R': hits}))['R']
    assert row['low'] <= row['mean'] <= row['high']


def test_a_video_counts_by_its_queries() -> None:
    ids = [str(i) for i in range(120)]
    hits = np.repeat([1.0, 0.0], [90, 30])
    row = bootstrap(QueryValues(ids, ['a'] * 90 + ids[90:], {'R': hits}))['R']
    assert row['low'] <= row['mean'] == 75 <= row['high']


def test_a_query_that_is_answered_twice_cannot_be_paired() -> None:
    once = QueryValues(list('ab'), list('uv'), {'R': np.array([0.0, 1.0])})
    twice = QueryValues(list('aab'), list('uuv'), {'R': np.array([0.0, 0.0, 1.0])})
    for pair in ((once, twice), (twice, twice)):
        with pytest.raises(ValueError, match="query 'a' is answered twice"):
            paired_bootstrap(*pair, rounds=10)


def test_seeds_are_averaged_query_by_query() -> None:
    one = QueryValues(list('ab'), list('uv'), {'R': np.array([0.0, 1.0])})
    two = one._replace(values={'R': np.array([1.0, 1.0])})
    assert mean_values([one, two]).values['R'].tolist() == [0.5, 1]
    with pytest.raises(ValueError, match='different queries'):
        mean_values([one, two._replace(query_ids=list('ac'))])


def test_the_report_of_folds_is_that_of_their_queries() -> None:
    folds = [
        with_corpus(random_entries(40, 4, seed=5), seed=1),
        with_corpus(random_entries(80, 4, seed=6, first=40), seed=2),
    ]
    corpus = CorpusMomentMetric(topk=(1,), ious=(0.5,))
    report = pooled_report([RECALL, corpus], [folds], rounds=200)
    whole = RECALL.compute_entries(pool(folds))
    row = report['R@1,IoU=0.5']
    assert row['mean'] == pytest.approx(whole['R@1,IoU=0.5'])
    assert row['low'] < row['mean'] < row['high']
    assert row['floor/constant_window'] == whole['floor/constant_window/R@1,IoU=0.5']
    assert 'seeds' not in row
    # The corpus of a query is its own fold: frequent videos are searched for there.
    parts = [corpus.compute_entries(fold) for fold in folds]
    for key in ('VR/R@1', 'VCMR/R@1,IoU=0.5'):
        assert report[key]['mean'] == pytest.approx((parts[0][key] + 2 * parts[1][key]) / 3)
    assert report['VR/R@1']['floor/frequent_videos'] == pytest.approx((10 + 2 * 5) / 3)

    seeds = [folds, [random_entries(40, 9, seed=5), random_entries(80, 9, seed=6, first=40)]]
    two = pooled_report([RECALL], seeds, rounds=200)['R@1,IoU=0.5']
    means = [RECALL.compute_entries(pool(one))['R@1,IoU=0.5'] for one in seeds]
    assert two['mean'] == pytest.approx(np.mean(means))
    assert two['seeds'] == pytest.approx(np.std(means, ddof=1))


def test_a_query_is_tested_in_one_fold() -> None:
    entries = random_entries(8, 4, seed=7)
    with pytest.raises(ValueError, match="query 'q3' was tested in two folds"):
        pool([entries[:4], entries[3:]])


def test_figures_of_folds_count_by_their_queries() -> None:
    assert mean_over_queries([{'a': 10.0}, {'a': 40.0}], [2, 1]) == {'a': 20.0}


def test_runs_of_a_cross_validation_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for seed, fold in ((10, 0), (2, 1), (2, 0)):
        (tmp_path / f'refit/seed_{seed}_fold_{fold}').mkdir(parents=True)
    (tmp_path / 'seed_2_fold_0_old').mkdir()
    assert fold_runs(tmp_path) == fold_runs(tmp_path / 'missing') == []
    runs = fold_runs(tmp_path / 'refit')
    assert [(run.seed, run.fold) for run in runs] == [(2, 0), (2, 1), (10, 0)]
    assert all(run.refit for run in runs)
    assert runs[0].first_path == tmp_path / 'seed_2_fold_0'
