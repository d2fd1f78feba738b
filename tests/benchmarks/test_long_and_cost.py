"""The benchmarks of memory and cost run on a small model, and count what they say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engine.tiny import write_tiny_demul
from tests.tools.running import ROOT, call
from tests.warm import run_warm

sys.path.insert(0, str(ROOT / 'benchmarks'))
import cost
import long_video
import measuring

pytestmark = pytest.mark.slow


def numbers(table: str) -> dict[str, list[float]]:
    """Rows of a Markdown table of numbers, by their name."""
    lines = [line for line in table.splitlines() if line.startswith('| ')][2:]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {row[0]: [float(cell) for cell in row[1:]] for row in cells}


def test_long_videos(tmp_path: Path) -> None:
    config, out = write_tiny_demul(tmp_path / 'data'), tmp_path / 'long.md'
    options = ['--clips', '128', '16384', '--queries', '2', '--out', str(out)]
    done = run_warm(sys.executable, 'benchmarks/long_video.py', config, *options)
    assert done.returncode == 0, done.stderr
    assert '2 queries, 128 x the clips: ' in done.stdout
    rows = numbers(out.read_text())
    assert list(rows) == ['128 clips, 2 queries', '16384 clips, 2 queries']
    short, long = rows.values()
    assert 0 <= short[0] < long[0]  # megabytes
    assert all(value > 0 for row in (short, long) for value in row[1:])


def test_peak_memory_is_of_the_process_alone() -> None:
    own = np.ones(2**24)  # 128 MB, which a process that this one starts does not have
    code = 'import measuring; print(measuring.peak_mb())'
    command = [sys.executable, '-c', code]
    child = subprocess.run(command, cwd=ROOT / 'benchmarks', stdout=subprocess.PIPE, check=True)
    assert 1 < float(child.stdout) < own.nbytes / 2**20 < measuring.peak_mb()


def test_growth_is_that_of_the_longest_over_the_shortest() -> None:
    rows = {
        (600, 4): {'peak MB': 0.0, 'seconds': 2.0},
        (3600, 4): {'peak MB': 55.0, 'seconds': 11.0},
        (1800, 4): {'peak MB': 30.0, 'seconds': 5.0},
    }
    assert long_video.growth(rows) == ['4 queries, 6 x the clips: +55 MB, 5.50 x the seconds']


@pytest.mark.usefixtures('warm')
def test_costs_are_compared_with_the_first(tmp_path: Path) -> None:
    config, out = write_tiny_demul(tmp_path / 'data', width=128), tmp_path / 'cost.md'
    plain = tmp_path / 'data' / 'plain.py'
    plain.write_text(f"_base_ = ['{config}']\nmodel = dict(neck=None)\n")
    options = ['--steps', '3', '--warm-up', '1', '--out', str(out)]
    assert call('benchmarks/cost.py', plain, config, *options).code == 0
    rows = numbers(out.read_text())
    assert list(rows) == ['plain', Path(config).stem]
    first, second = rows.values()
    assert first[-1] == 1
    assert second[-1] == pytest.approx(second[2] / first[2], rel=0.05)
    assert first[0] < second[0]  # parameters: the neck
    assert first[1] == second[1] == pytest.approx(6, abs=1.5)  # queries of two videos, or one


def test_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    config = write_tiny_demul(tmp_path / 'data')
    for first, second in ((config, config), (f'a/code:{config}', f'b/code:{config}')):
        done = call('benchmarks/cost.py', first, second, '--steps', 1, '--warm-up', 0)
        assert done.code == 2
        assert f'{first} and {second} would both be' in done.err
    assert cost.row_names(['a/x.py', '../before:a/x.py', 'y.py']) == ['x', 'before: x', 'y']
