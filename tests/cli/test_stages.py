"""Stages in a row: what is finished is kept, what fails is shown, and the time that is left."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from demul_mm.cli.stages import Clock, Stage, Stages, bar, batches, epochs

BAR = 'videos:  25%|##5       | 150/600 [00:11<00:33, 13.43video/s]'
TRAIN = '07/01 10:00:00 - mmengine - INFO - Epoch(train)  [3][25/50]  lr: 1.0e-02'
TEST = '07/01 10:00:00 - mmengine - INFO - Epoch(test) [ 2/15]    eta: 0:00:05'


def test_counters_read_the_share_that_is_over() -> None:
    assert bar('videos')(BAR) == 0.25
    assert bar('videos', 0.2, 1.0)(BAR) == pytest.approx(0.4)
    assert epochs(10)(TRAIN) == pytest.approx(0.25)
    assert batches()(TEST) == pytest.approx(2 / 15)
    for counter in (bar('decode'), epochs(10), batches()):
        assert counter(BAR) is None
    assert bar('videos')('videos: 0video [00:00, ?video/s]') is None


def test_the_time_left_follows_the_pace() -> None:
    clock = Clock(total=400.0)
    clock.start(100.0, tells=True)
    clock.share = 0.5
    clock.since -= 70 * 2 - 20  # half as fast as was foreseen, beside the trust of 20 s
    share, left = clock.read()
    assert share == pytest.approx(50 / 400)
    assert left == pytest.approx(2 * 350, rel=0.01)
    clock.start(300.0, tells=False)
    assert clock.read()[0] == pytest.approx(100 / 400, abs=0.01)
    clock.stage_since -= 300.0  # time alone makes it advance, and never to the end
    assert clock.read()[0] == pytest.approx((100 + 150) / 400, abs=0.01)


def make(folder: Path, done: list[str], *works: object) -> list[Stage]:
    stages = [Stage('first', 'The first', lambda: done.append('first'), 1.0)]
    return stages + [Stage(f'n{i}', f'Work {i}', work, 1.0) for i, work in enumerate(works)]


def test_what_is_finished_is_not_done_again(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, tmp_path, dict(seed=0)).run(make(tmp_path, done, stop))
    assert 'goes on from here' in capfd.readouterr().out
    script = "import sys; print('videos: 50%|# | 1/2 [00:00<'); sys.exit(len(sys.argv) - 2)"
    words = ['-c', script, lambda: 'a word that is known late']
    Stages(tmp_path, tmp_path, dict(seed=0)).run(
        [*make(tmp_path, done, words), Stage('last', 'The last', lambda: 'two\nlines', 1.0)]
    )
    assert done == ['first']
    shown = capfd.readouterr().out
    assert '[1/3] The first: done before' in shown
    assert '    two\n    lines\n' in shown
    assert '1/2' in (tmp_path / 'logs' / 'n0.log').read_text()
    assert list(json.loads((tmp_path / 'stages.json').read_text())['seconds']) == [
        'first', 'n0', 'last'
    ]  # fmt: skip
    with pytest.raises(ValueError, match='give the same arguments'):
        Stages(tmp_path, tmp_path, dict(seed=1))


def test_a_command_that_fails_shows_its_end(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    words = ['-c', "import sys; print('what went wrong'); sys.exit(3)"]
    with pytest.raises(ChildProcessError, match=r'"Work 0" failed \(exit code 3\)'):
        Stages(tmp_path, tmp_path, {}).run(make(tmp_path, [], words))
    assert 'what went wrong' in capfd.readouterr().out
    assert list(json.loads((tmp_path / 'stages.json').read_text())['seconds']) == ['first']


def test_a_script_inside_is_as_a_command(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('demul_mm.cli.stages.QUIET_SECONDS', 0.05)
    script = tmp_path / 'script.py'
    script.write_text(
        'import os, sys, time\n'
        "print('videos: 50%|# | 1/2 [00:00<', file=sys.stderr)\n"
        'time.sleep(0.3)\n'
        'print(sys.argv[1:], os.getcwd())\n'
        'sys.exit(int(sys.argv[1]))\n'
    )
    folder, here = os.getcwd(), list(sys.argv)

    def stage(code: int) -> Stage:
        return Stage(f's{code}', 'S', ['script.py', code], 1.0, (bar('videos'),), inside=True)

    Stages(tmp_path, tmp_path, {}).run([stage(0)])
    assert f"['0'] {tmp_path}" in (tmp_path / 'logs' / 's0.log').read_text()
    assert '50 % of all' in capfd.readouterr().out
    with pytest.raises(ChildProcessError, match=r'"S" failed \(exit code 3\)'):
        Stages(tmp_path, tmp_path, {}).run([stage(3)])
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, tmp_path, {}).run([stage(130)])
    assert (os.getcwd(), sys.argv) == (folder, here)


def test_progress_is_said_while_a_stage_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('demul_mm.cli.stages.QUIET_SECONDS', 0.05)
    Stages(tmp_path, tmp_path, {}).run([Stage('a', 'A', lambda: time.sleep(0.4), 1.0)])
    assert '% of all, 0:0' in capfd.readouterr().out
