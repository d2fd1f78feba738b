"""Every command answers --help at once, with examples, and goes through the one entry."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.tools.running import ROOT

COMMANDS = sorted(
    path
    for folder in ('tools', 'benchmarks')
    for path in (ROOT / folder).rglob('*.py')
    if "__name__ == '__main__'" in path.read_text()
)
HEAVY = (
    'torch',
    'transformers',
    'mmaction',
    'mmcv',
    'cv2',
    'scipy',
    'matplotlib',
    'demul_mm.models',
)
# In one process, in turn: a command shows what none before it has imported.
ASK_ALL = f"""
import contextlib, io, json, os, runpy, sys

answers = {{}}
for path in json.loads(sys.argv[1]):
    sys.argv, printed, code = [path, '--help'], io.StringIO(), None
    sys.path.insert(0, os.path.dirname(path))
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as stop:
            code = stop.code
    sys.path.pop(0)
    heavy = [name for name in {HEAVY} if sys.modules.pop(name, None)]
    answers[path] = [code, printed.getvalue(), heavy]
print(json.dumps(answers))
"""

EACH = pytest.mark.parametrize('path', COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))


def python(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    return done.stdout


def imported_by(name: str) -> set[str]:
    """The modules that an import leaves."""
    code = f'import {name}, json, sys; print(json.dumps(list(sys.modules)))'
    return set(json.loads(python('-c', code)))


@pytest.fixture(scope='module')
def answers() -> dict[str, tuple[int, str, list[str]]]:
    return json.loads(python('-c', ASK_ALL, json.dumps([str(path) for path in COMMANDS])))


@EACH
def test_help_is_light_and_has_examples(answers, path):
    code, shown, heavy = answers[str(path)]
    assert code == 0
    assert heavy == []
    name = path.relative_to(ROOT)
    name = name.parent if name.name == '__main__.py' else name
    assert re.search(rf'\nexamples:\n(.*\n)*.*python {re.escape(str(name))}', shown)
    assert '--debug' in shown


@EACH
def test_there_is_one_way_in(path):
    text = path.read_text()
    assert text.endswith("if __name__ == '__main__':\n    run_tool(main)\n")
    assert 'SystemExit' not in text


def test_the_package_imports_no_torch():
    assert imported_by('demul_mm').isdisjoint(HEAVY)


def test_the_index_knows_no_model():
    found = imported_by('demul_mm.index')
    assert found.isdisjoint(name for name in HEAVY if name != 'torch')
    assert not [name for name in found if name.startswith('mmengine.model')]
