"""The table of speeds: a machine's rows are replaced; those of others, and text below, stay."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
import speed
import speed_measures
from gpu_check.lab import QUICK

FOUND = """
What somebody found, with a table of its own:

| films | best |
| --- | ---: |
| 400 | 69.2 |

and why.
"""


def run(monkeypatch: pytest.MonkeyPatch, out: Path) -> dict:
    monkeypatch.setattr(sys, 'argv', ['speed.py', '--quick', '--out', str(out)])
    speed.main()
    return speed.read_rows(out)


def test_rows_of_other_machines_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, **columns: float | str) -> dict:
        monkeypatch.setattr(speed_measures, 'measure', lambda args: {name: columns})
        return run(monkeypatch, tmp_path / 'speed.md')

    first = measured('One, AVX2: float32 (auto)', training=3.0, commit='a')
    assert first == {'One, AVX2: float32 (auto)': {'training': '3.0', 'commit': 'a'}}
    page = tmp_path / 'speed.md'
    page.write_text(page.read_text() + FOUND)
    measured('Two, AMX: bfloat16 (auto)', training=9.25, search=1.0, commit='b')
    rows = measured('One, AVX2: float32', training=4.0, commit='c')
    assert rows == {
        'Two, AMX: bfloat16 (auto)': {'training': '9.2', 'search': '1.0', 'commit': 'b'},
        'One, AVX2: float32': {'training': '4.0', 'commit': 'c'},
    }
    assert page.read_text().endswith(f'|\n{FOUND}')


@pytest.mark.slow
def test_this_machine_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_measures, 'SIZES', QUICK)
    rows = run(monkeypatch, tmp_path / 'speed.md')
    assert len(rows) == 2
    auto, other = rows.values()
    assert 'auto' in next(iter(rows))
    assert len(auto) == 8
    assert float(auto['training, queries/s']) > 0
    imitated = 'imitated' in list(rows)[1]
    assert len(other) == (3 if imitated else 8)
    if imitated:  # then 'auto' was right not to choose it
        assert float(other['product, GFLOP/s']) < float(auto['product, GFLOP/s']) / 3
