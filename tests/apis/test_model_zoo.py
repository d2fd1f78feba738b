"""Every config is listed once, and what is listed is there, in a clone and in a wheel."""

import subprocess
import sys
from pathlib import Path

import pytest

from demul_mm.apis import list_models
from demul_mm.apis.model_zoo import models, root
from tests.tools.running import ROOT


def test_every_config_is_listed_once() -> None:
    configs = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
    assert list_models() == configs
    assert list_models('^demul_tvr') == ['demul_tvr', 'demul_tvr_subtitles']
    for model in models():
        assert model['Config'] == f'configs/{model["Name"]}.py'
        assert (root() / model['Config']).is_file()
        for result in model.get('Results', ()):
            assert model['Metadata']['Commit']
            assert all(0 <= value <= 100 for value in result['Metrics'].values())


@pytest.mark.slow
def test_a_wheel_has_them(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    code = 'from demul_mm.apis import model_zoo as zoo; print(zoo.root(), len(zoo.list_models()))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / 'demul_mm/.mim'), str(len(list_models()))]
    assert (tmp_path / 'demul_mm/.mim/tools/train.py').is_file()
