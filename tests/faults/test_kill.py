"""The script of kills, with few of them; its default is 20 of each operation."""

import sys

import pytest

from tests.warm import run_warm

pytest.importorskip('av')


@pytest.mark.slow
def test_nothing_is_lost_by_kills() -> None:
    done = run_warm(sys.executable, 'tests/faults/kill.py', '2', '7')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(':')[0] for line in lines] == ['train', 'extract', 'build', 'add']
    assert all('killed 2 times' in line and 'nothing lost' in line for line in lines)
