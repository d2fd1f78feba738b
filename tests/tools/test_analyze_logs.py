"""Curves and cost of trainings, from what they logged."""

import json
from pathlib import Path

import pytest

from tests.tools.running import run_in_process

TOOL = 'tools/analysis_tools/analyze_logs.py'


def write_log(run: Path, losses: list[float], scores: list[float]) -> None:
    """Two logs of each epoch, one validation after it."""
    rows: list[dict] = []
    for epoch, (loss, score) in enumerate(zip(losses, scores), 1):
        for half in (0, 1):
            step = dict(epoch=epoch, iter=20 * epoch + 10 * half, time=0.5, data_time=0.1)
            rows.append(dict(step, loss=loss + half))
        rows.append(dict(mIoU=score, step=epoch))
    path = run / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + '{"loss": 1')  # killed


def test_folds_are_one_line_and_their_mean_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folds, alone = tmp_path / 'folds', tmp_path / 'alone'
    write_log(folds / 'seed_0_fold_0', [4.0, 3.0], [10.0, 20.0])
    write_log(folds / 'seed_0_fold_1', [6.0, 5.0], [30.0, 20.0])
    write_log(alone, [9.0], [1.0])
    drawn = {}
    monkeypatch.setattr(
        'demul_mm.visualization.charts.save_figure',
        lambda figure, path: drawn.update({axes.get_title(): axes for axes in figure.axes}),
    )
    run_in_process(TOOL, str(folds), str(alone), '--keys', 'loss', 'mIoU')
    assert list(drawn) == ['loss', 'mIoU']
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn['loss'].get_lines()}
    assert lines == {'folds': [[1, 5.5], [2, 4.5]], 'alone': [[1, 9.5]]}
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn['mIoU'].get_lines()}
    assert lines == {'folds': [[1, 20.0], [2, 20.0]], 'alone': [[1, 1.0]]}
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('folds'))
    assert row.split() == ['folds', '2', '2', '50.00', '0.50', '0.10', '0.42', '25.00']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'give the --work-dir'),
        (['--keys', 'mAP'], 'there is data_time, epoch, iter, loss, mIoU'),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture, options: list[str], message: str
) -> None:
    if options:
        write_log(tmp_path, [1.0], [2.0])
    with pytest.raises(SystemExit):
        run_in_process(TOOL, str(tmp_path), *options)
    assert message in capsys.readouterr().err


def test_two_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for parent in ('a', 'b'):
        write_log(tmp_path / parent / 'run', [1.0], [2.0])
    with pytest.raises(SystemExit):
        run_in_process(TOOL, str(tmp_path / 'a' / 'run'), str(tmp_path / 'b' / 'run'))
    assert 'two work dirs have one name' in capsys.readouterr().err
