"""Scoring again, by groups, one file against another; calibration; the tools around them."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.evaluator import DumpResults
from mmengine.logging import MMLogger

from demul_mm.cli import load_config
from demul_mm.datasets.folds import fold_of, stable_unit
from demul_mm.evaluation.metrics import CorpusMomentMetric, MomentRecall
from demul_mm.evaluation.predictions import save_predictions
from demul_mm.evaluation.reliability import reliability, scores_and_hits
from demul_mm.evaluation.rescore import group_entries, own_video_metric, score_entries
from demul_mm.evaluation.tables import format_table, split_floors, write_tables
from tests.tools.running import ROOT, call


def _entry(query, gt, pred, video='v', duration=100.0, tags=()):
    return dict(query_id=query, video_id=video, query='', duration=duration, gt=gt, pred=pred,
                tags=list(tags))  # fmt: skip


def _random_entries(num: int, noise: float, seed: int):
    rng = np.random.default_rng(seed)
    entries = []
    for i in range(num):
        start = rng.uniform(0, 60)
        end = start + rng.uniform(2, 40)
        error = rng.normal(0, noise, 2)
        pred = [[start + error[0], max(end + error[1], start + error[0]), rng.uniform()]]
        entries.append(_entry(f'q{i}', [[start, end]], pred, video=f'v{i // 4}'))
    return entries


def test_groups_by_length_duration_and_tags():
    entries = [
        _entry('a', [[0, 4]], [], tags=['x']),
        _entry('b', [[0, 5]], [], tags=['x', 'y']),
        _entry('c', [[0, 50], [0, 60]], [], duration=700.0),
        _entry('d', [], [], duration=20.0),
    ]

    def names(by):
        return {k: [e['query_id'] for e in v] for k, v in group_entries(entries, by).items()}

    assert names('length') == {'under 5 % of the video': ['a'], '5 to 20 %': ['b', 'c']}
    assert names('duration') == {
        'video under 30 s': ['d'], '1 to 3 min': ['a', 'b'], '10 min and more': ['c'],
    }  # fmt: skip
    assert names('tags') == {'x': ['a', 'b'], 'y': ['b']}
    with pytest.raises(ValueError, match="cannot group by 'colour'; allowed: length"):
        group_entries(entries, 'colour')
    with pytest.raises(ValueError, match='the file has no tags'):
        group_entries(entries[3:], 'tags')


def test_groups_are_the_whole_again():
    entries = _random_entries(200, noise=4, seed=0)
    metric = MomentRecall(floors=False)
    whole = score_entries(metric, entries)
    parts = group_entries(entries, 'length')
    assert sum(map(len, parts.values())) == 200
    for key, value in whole.items():
        mean = sum(score_entries(metric, p)[key] * len(p) for p in parts.values()) / 200
        assert mean == pytest.approx(value)


def test_foreign_metrics_are_refused(tmp_path):
    with pytest.raises(TypeError, match='DumpResults cannot score a predictions file'):
        score_entries(DumpResults(str(tmp_path / 'x.pkl')), [])


def test_reliability_by_hand():
    scores = np.array([0.15, 0.15, 0.85, 1.0])
    hits = np.array([False, True, True, True])
    table = reliability(scores, hits, num_bins=10)
    np.testing.assert_allclose(table.confidence, [0.15, 0.85, 1.0])
    np.testing.assert_allclose(table.accuracy, [0.5, 1.0, 1.0])
    assert table.size.tolist() == [2, 1, 1]
    assert table.ece == pytest.approx((2 * 0.35 + 0.15 + 0) / 4)
    assert table.brier == pytest.approx((0.15**2 + 0.85**2 + 0.15**2 + 0) / 4)


def test_a_calibrated_score_has_no_error_and_an_overconfident_one_has():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20000)
    hits = rng.uniform(0, 1, 20000) < scores
    assert reliability(scores, hits).ece < 0.02
    assert reliability(np.sqrt(scores), hits).ece > 0.1


def test_scores_and_hits_of_the_best_predictions():
    entries = [
        _entry('a', [[0, 10]], [[0, 10, 0.9], [0, 4, 0.3]]),
        _entry('b', [[0, 10]], []),
        _entry('c', [], [[0, 1, 0.5]]),  # truth unknown
    ]
    scores, hits = scores_and_hits(entries, top=2)
    assert scores.tolist() == [0.9, 0.3]
    assert hits.tolist() == [True, False]
    just = [_entry('d', [[0, 10]], [[0, 5, 0.5]])]
    assert scores_and_hits(just, iou=0.5)[1].tolist() == [True]
    entries[0]['pred'][0][2] = 4.2
    with pytest.raises(ValueError, match=r'1 of 2 scores are not in \[0, 1\] \(the first: 4.2\)'):
        scores_and_hits(entries, top=2)


def test_tables():
    rows = split_floors(
        {'mIoU': 40.0, 'floor/whole_video/mIoU': 30.0, 'oracle/mIoU': 90.0,
         'didemo/Rank@1': 20.0, 'didemo/floor/prior/Rank@1': 19.0,
         'floor/constant_window/SVMR/R@1,IoU=0.5': 5.0}
    )  # fmt: skip
    assert rows == {
        'model': {'mIoU': 40.0, 'didemo/Rank@1': 20.0},
        'floor/whole_video': {'mIoU': 30.0},
        'oracle': {'mIoU': 90.0},
        'floor/prior': {'didemo/Rank@1': 19.0},
        'floor/constant_window': {'SVMR/R@1,IoU=0.5': 5.0},
    }
    text = format_table({'a': {'queries': 3, 'mIoU': 1 / 3}, 'bb': {'queries': 12}})
    assert text == '    queries  mIoU\na         3  0.33\nbb       12     -'


@pytest.fixture
def run_tool():
    """Run a tool in this process: (exit code, what it printed)."""
    logger = MMLogger.get_current_instance()
    level = logger.level

    def run(*arguments) -> tuple[int, str]:
        done = call(f'tools/{arguments[0]}', *arguments[1:])
        return done.code, done.out + done.err

    yield run
    logger.setLevel(level)


EVAL_METRIC = 'analysis_tools/eval_metric.py'


def test_eval_metric_tool_gives_the_same_numbers(tmp_path, run_tool):
    entries = _random_entries(40, noise=5, seed=4)
    dump, out = tmp_path / 'dump.json', tmp_path / 'out.json'
    save_predictions(dump, entries, {'split': 'val'})
    options = ('--cfg-options', 'iou_op=gt', 'topk=1,3', '--out', out, '--by', 'length', 'duration')
    code, printed = run_tool(EVAL_METRIC, dump, *options)
    assert code == 0
    assert 'floor/whole_video' in printed
    assert '20 to 50 %' in printed
    written = json.loads(out.read_text())
    metric = MomentRecall(iou_op='gt', topk=(1, 3))
    assert written['metrics'] == metric.compute_entries(entries)
    assert set(written) == {'meta', 'metrics', 'by_length', 'by_duration'}
    for name, part in group_entries(entries, 'length').items():
        wanted = {'queries': len(part), **metric.compute_entries(part)}
        assert written['by_length'][name] == wanted
        assert f'  {name}: floor/constant_window' in printed


def test_the_queries_of_a_group_are_those_that_are_scored(tmp_path, run_tool):
    entries = _random_entries(6, noise=5, seed=4)
    entries[2]['gt'] = []
    entries = [dict(entry, tags=['all', 'odd'] if i % 2 else ['all', 'even'])
               for i, entry in enumerate(entries)]  # fmt: skip
    save_predictions(tmp_path / 'dump.json', entries, {})
    out = tmp_path / 'out.json'
    code, _ = run_tool(EVAL_METRIC, tmp_path / 'dump.json', '--by', 'tags', '--out', out)
    assert code == 0
    groups = json.loads(out.read_text())['by_tags']
    assert {name: row['queries'] for name, row in groups.items()} == {'all': 5, 'even': 2, 'odd': 3}


def test_eval_metric_tool_takes_the_evaluator_of_a_config(tmp_path, run_tool):
    entries = _random_entries(40, noise=5, seed=4)
    save_predictions(tmp_path / 'dump.json', entries, {})
    config = tmp_path / 'config.py'
    config.write_text(
        "test_evaluator = [dict(type='MomentRecall', ious=(0.4,), floors=False),\n"
        "                  dict(type='DiDeMoMetric', prefix='didemo', floors=False),\n"
        "                  dict(type='DumpPredictions', out_path='never.json')]\n"
    )
    out = tmp_path / 'out.json'
    code, _ = run_tool(EVAL_METRIC, tmp_path / 'dump.json', '--config', config, '--out', out)
    assert code == 0
    assert set(json.loads(out.read_text())['metrics']) == {
        'R@1,IoU=0.4', 'R@5,IoU=0.4', 'mIoU', 'didemo/Rank@1', 'didemo/Rank@5', 'didemo/mIoU',
    }  # fmt: skip


def test_eval_metric_tool_refuses_what_it_does_not_know(tmp_path, run_tool):
    dump = tmp_path / 'dump.json'
    code, printed = run_tool(EVAL_METRIC, dump)
    assert code == 2
    assert 'does not exist; write it with tools/test.py --dump' in printed
    save_predictions(dump, _random_entries(4, noise=5, seed=4), {})
    code, printed = run_tool(EVAL_METRIC, dump, '--cfg-options', 'iou_opp=gt')
    assert code == 2
    assert "MomentRecall has no option 'iou_opp'; did you mean 'iou_op'?" in printed
    code, printed = run_tool(EVAL_METRIC, dump, '--metric', 'Recall')
    assert code == 2
    assert "there is no metric 'Recall'; demul_mm has CorpusMomentMetric" in printed


def test_tools_that_draw_and_compare(tmp_path, run_tool):
    dump, html = tmp_path / 'dump.json', tmp_path / 'r.html'
    save_predictions(dump, _random_entries(40, noise=5, seed=4), {'simulated': True})
    code, printed = run_tool('analysis_tools/calibration.py', dump)
    assert code == 0
    assert 'ECE' in printed
    assert (tmp_path / 'dump.reliability.png').is_file()
    code, printed = run_tool('analysis_tools/compare.py', dump, dump, '--rounds', 50)
    assert code == 0
    assert 'difference' in printed
    pictures = tmp_path / 'pictures'
    code, printed = run_tool('visualization/visualize_predictions.py', dump, '--html', html,
                             '--pictures', pictures, '--max-videos', 2)  # fmt: skip
    assert code == 0
    assert 'The features are simulated' in html.read_text()
    assert len(list(pictures.iterdir())) == 2


def test_pictures_are_of_these_predictions(tmp_path, run_tool):
    dump, before = tmp_path / 'dump.json', {}
    for seed in (4, 5):
        save_predictions(dump, _random_entries(2, noise=5, seed=seed), {})
        code, _ = run_tool('visualization/visualize_predictions.py', dump, '--pictures', tmp_path)
        assert code == 0
        pictures = {path.name: path.read_bytes() for path in tmp_path.glob('*.png')}
        assert pictures
        assert pictures.items().isdisjoint(before.items())
        before = pictures


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('charades_clip', 'mIoU'),
        ('qvhighlights_captions', 'mAP'),
        ('youcook2_transcripts', 'R@1,IoU=0.5'),
    ],
)
def test_the_value_that_counts_most_is_what_chooses_the_checkpoint(name: str, key: str) -> None:
    config = load_config(str(ROOT / 'configs' / f'demul_{name}_cv.py'))
    metric, found = own_video_metric(config)
    assert found == key
    assert not isinstance(metric, CorpusMomentMetric)
    config.default_hooks.checkpoint.save_best = 'auto'
    assert own_video_metric(config)[1] == list(metric.query_values([]))[-1]


def test_tables_are_written_as_markdown_or_json(tmp_path) -> None:
    tables = {'a': {'one': {'x': 1.5}}, 'b': {'two': {'y': 2}}}
    write_tables(tmp_path / 't.json', tables, {'a': 'First', 'b': 'Second'})
    assert json.loads((tmp_path / 't.json').read_text()) == tables
    write_tables(tmp_path / 't.md', tables, {'a': 'First', 'b': 'Second'})
    lines = (tmp_path / 't.md').read_text().splitlines()
    assert [line for line in lines if not line.startswith('|')] == ['First', '', '', 'Second', '']
    assert '| one | 1.50 |' in lines


def test_a_calibration_of_nothing_is_refused() -> None:
    entries = [_entry('a', [[0, 5]], [[0, 5, 0.5]])]
    for top in (0, -1):
        with pytest.raises(ValueError, match=f'top is {top}'):
            scores_and_hits(entries, top=top)
    with pytest.raises(ValueError, match='0 bins'):
        reliability(*scores_and_hits(entries), num_bins=0)


def _tested_folds(root: Path, work_dir: Path, texts: list[str], **options: object) -> Path:
    """A config of two folds, and a work dir that tested both; a video ``v<i>`` for each text."""
    rows = [
        dict(
            video_id=f'v{i}',
            duration=10.0,
            queries=[dict(query_id=f'v{i}#0', query=text, spans=[[0, 5]])],
        )
        for i, text in enumerate(texts)
    ]
    videos = root / 'videos.jsonl'
    videos.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    dataset = dict(type='JsonlMomentDataset', ann_file=str(videos), split='all',
                   folds=dict(num=2, test=0, part='train'), **options)  # fmt: skip
    config = root / 'config.py'
    config.write_text(
        f'train_dataloader = dict(dataset={dataset})\ntest_dataloader = train_dataloader\n'
        "test_evaluator = dict(type='MomentRecall')\ndefault_scope = 'demul_mm'\n"
    )
    for fold in (0, 1):
        entries = [
            _entry(f'v{i}#0', [[0, 5]], [[0, 5, 1.0]], video=f'v{i}') | dict(query=text)
            for i, text in enumerate(texts)
            if fold_of(f'v{i}', 2) == fold
        ]
        assert entries
        # What has no true moment is not scored.
        entries.append(_entry(f'none_{fold}', [], [[0, 5, 1.0]]) | dict(query='sings'))
        save_predictions(work_dir / f'seed_0_fold_{fold}/predictions.json', entries, {})
        save_predictions(work_dir / f'seed_1_fold_{fold}/predictions.json', entries, {})
    return config


def _by_novelty(config: Path, work_dir: Path) -> dict:
    """What generalization.py tells of a work dir."""
    out = work_dir / 'out.json'
    done = call('tools/analysis_tools/generalization.py', config, work_dir, '--out', out)
    assert done.code == 0, done.err
    return json.loads(out.read_text())['generalization']


def test_folds_are_scored_by_what_each_was_trained_on(tmp_path) -> None:
    """The same sentence is known to a fold that trained on it, and new to the other."""
    pytest.importorskip('sklearn')
    texts = ['opens a door'] * 6 + ['throws one pillow']
    found = _by_novelty(_tested_folds(tmp_path, tmp_path, texts), tmp_path)
    assert {name: row['queries'] for name, row in found.items()} == {
        'a new word': 1,
        'a known sentence': 6,
        'all': 7,
    }
    assert found['all']['mIoU'] == 100


def test_a_second_training_knows_the_held_out_sentences(tmp_path) -> None:
    pytest.importorskip('sklearn')
    held = [stable_unit(f'v{i}', 'holdout') < 0.5 for i in range(12)]
    texts = ['opens a door' if one else 'throws one pillow' for one in held]
    options = dict(subset='fit', holdout_fraction=0.5)
    first, second = (
        _by_novelty(_tested_folds(tmp_path, work_dir, texts, **options), work_dir)
        for work_dir in (tmp_path, tmp_path / 'refit')
    )
    assert first['a new word']['queries'] == sum(held)
    assert second['a known sentence']['queries'] == len(texts)


def test_sentences_of_several_data_sets_are_known(tmp_path) -> None:
    pytest.importorskip('sklearn')
    texts = ['opens a door'] * 6 + ['throws one pillow']
    config = _tested_folds(tmp_path, tmp_path, texts)
    config.write_text(
        config.read_text()
        + "one = dict(train_dataloader['dataset'], folds=None, pipeline=[dict(type='Missing')])\n"
        "several = dict(type='ConcatDataset', datasets=[one, dict(one, name='other')])\n"
        'train_dataloader = dict(dataset=several)\n'
    )
    tool = 'tools/analysis_tools/generalization.py'
    out = tmp_path / 'out.json'
    predictions = tmp_path / 'seed_0_fold_0/predictions.json'
    done = call(tool, config, predictions, '--out', out)
    assert done.code == 0, done.err
    rows = json.loads(out.read_text())['generalization']
    assert rows['a known sentence']['queries'] == rows['all']['queries'] > 0
    done = call(tool, config, tmp_path)
    assert done.code == 2
    assert 'error: the training set of' in done.err
    assert 'has no folds' in done.err
    save_predictions(predictions, [_entry('none', [], [[0, 5, 1.0]]) | dict(query='sings')], {})
    done = call(tool, config, predictions)
    assert done.code == 2
    assert 'no query of' in done.err
    assert 'has a known moment' in done.err
