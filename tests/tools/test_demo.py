"""The demo hands its folder on, whatever it is called."""

import argparse
import runpy
from pathlib import Path

import pytest

from demul_mm.cli import add_config_options, load_config, tool_parser
from tests.tools.running import ROOT, call

DEMO = runpy.run_path(str(ROOT / 'tools/demo.py'))


@pytest.mark.parametrize('name', ['demo', 'my demo', 'one, two'])
def test_its_commands_read_its_own_films(name: str) -> None:
    args = argparse.Namespace(train=8, val=2, test=2, seed=0, steps=1, epochs=1)
    parser = tool_parser('What it does.\n\nExamples:\n    none')
    add_config_options(parser)
    work = Path('/somewhere') / name
    stages = {stage.name: stage.work for stage in DEMO['plan'](args, work)}
    for stage in ('train', 'test'):
        words = [str(word) for word in stages[stage]]
        given = parser.parse_args(words[words.index('--cfg-options') :]).cfg_options
        config = load_config(str(ROOT / DEMO['CONFIG']), given)
        for part in DEMO['SPLITS']:
            assert config[f'{part}_dataloader'].dataset.data_root == f'{work}/data/'


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_each_split_has_films(split: str) -> None:
    done = call('tools/demo.py', f'--{split}', 0)
    assert done.code == 2
    assert f'--{split} 0: give at least one video' in done.err
