"""docs/guides/train.md: what it says about one's own videos, run as it stands there."""

import glob
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from demul_mm.rendered import render_corpus
from tests.tools.running import ROOT, call

pytest.importorskip('av')
pytestmark = pytest.mark.slow

GUIDE = (ROOT / 'docs' / 'guides' / 'train.md').read_text()
TINY = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
DIM = 12
# In place of what takes long, or of what only the author's videos have.
SHORT = ['num_clips=16', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=1']


def write_clip(folder: Path) -> None:
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=dict(**TINY, vocab_size=20, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        vision_config=dict(**TINY, image_size=16, patch_size=8),
        projection_dim=DIM,
    )
    CLIPModel(config).save_pretrained(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands, with the data, the configs and the two files of the guide."""
    monkeypatch.chdir(tmp_path)
    render_corpus(Path('data/mine'), train=3, val=2, test=2, min_seconds=9, max_seconds=12)
    shutil.copytree(ROOT / 'configs' / '_base_', 'configs/_base_')
    template = (ROOT / 'configs' / 'demul_custom.py').read_text()
    width = f'feature_dim = {DIM}'
    Path('configs/demul_custom.py').write_text(template.replace('feature_dim = 768', width))
    write_clip(tmp_path / 'clip')
    (backbone,) = re.findall(r'```python\n(backbone = .*?)```', GUIDE, re.DOTALL)
    assert backbone.count("'openai/clip-vit-large-patch14'") == backbone.count('size=224') == 1
    backbone = backbone.replace('openai/clip-vit-large-patch14', str(tmp_path / 'clip'))
    Path('my_backbone.py').write_text(backbone.replace('size=224', 'size=16'))
    return tmp_path


def test_the_commands_for_ones_own_videos(home: Path) -> None:
    (block,) = re.findall(r'```shell\n(cp configs/demul_custom.py .*?)```', GUIDE, re.DOTALL)
    copy, *commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert copy[0] == 'cp'
    shutil.copy(*copy[1:])
    lines = [json.loads(line) for line in Path('data/mine/test.jsonl').read_text().splitlines()]
    mine = {'kitchen_07': lines[0]['video_id'], '182.4': str(lines[0]['duration'])}
    printed = {}
    for python, tool, *arguments in commands:
        assert python == 'python'
        words = [mine.get(word, word) for word in arguments]
        words = [found for word in words for found in (sorted(glob.glob(word)) or [word])]
        short = ['--cfg-options', *SHORT] if tool in ('tools/train.py', 'tools/test.py') else []
        done = call(tool, *words, *short)
        assert done.code == 0, (tool, done.err[-2000:])
        printed[Path(tool).name] = done.out
    assert 'train visual features: 3 videos, 0 bad' in printed['verify_dataset.py']
    predicted = json.loads(Path('work_dirs/demul_mine/test.json').read_text())['predictions']
    assert {one['video_id'] for one in predicted} == {line['video_id'] for line in lines}
    assert f'{mine["kitchen_07"]}: she opens the oven' in printed['localize.py']
    assert printed['search.py'].strip()
    film = Path('data/mine', lines[0]['video'])
    (weights,) = Path('work_dirs/demul_mine').glob('best_*.pth')
    asked = [film, '--query', 'a disc leaves', '--extractor', 'my_backbone.py', '--top', 1]
    done = call('tools/localize.py', 'configs/demul_mine.py', weights, *asked)
    assert done.code == 0, done.err[-2000:]
    assert 'probability' in done.out
    extractor = '--extractor', 'my_backbone.py'
    done = call(
        'tools/model/publish_model.py', 'configs/demul_mine.py', weights, 'mine', *extractor
    )
    assert done.code == 0, done.err[-2000:]
    assert 'extractor.safetensors' in done.out
