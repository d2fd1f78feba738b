"""docs/extending.md: its parts, built and used as it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope

from demul_mm import registry
from demul_mm.apis.extraction import load_backbone
from demul_mm.cli import load_config
from demul_mm.index import ExactIndex, MomentIndex
from demul_mm.registry import INDEXES, METRICS, MODELS, TASK_UTILS
from tests.index.corpus import Source, assert_same_hits, make_entries, make_queries
from tests.models.tiny import DIM, losses_of, tiny_config, tiny_data, tiny_model
from tests.test_configs import shrunk, video

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'extending.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
NAMES = ('StartRecall', 'MyFusion', 'MyIndex', 'ClipMatch', 'TokenTable', 'Colours')


def config_with(text: str) -> str:
    """The block of the page that is a config and holds this."""
    (block,) = (b for b in BLOCKS if text in b and not b.startswith(('@', 'class', 'from')))
    return block


@pytest.fixture(scope='module')
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module ``my_parts``, where a config's ``custom_imports`` finds it."""
    folder = tmp_path_factory.mktemp('parts')
    code = [block for block in BLOCKS if block.startswith(('@', 'class', 'from'))]
    (folder / 'my_parts.py').write_text('\n\n'.join(code))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import my_parts  # type: ignore[import-not-found]

        yield my_parts
    del sys.modules['my_parts']
    for kind in (METRICS, MODELS, INDEXES):
        for name in NAMES:
            kind._module_dict.pop(name, None)


def test_every_class_of_the_page_is_looked_at(parts: ModuleType) -> None:
    assert tuple(re.findall(r'^@\w+\.register_module\(\)\nclass (\w+)', PAGE, re.M)) == NAMES


def test_a_metric(parts: ModuleType, tmp_path: Path) -> None:
    metric = METRICS.build(dict(type='StartRecall'))
    entries = [
        dict(gt=[[3.0, 9.0], [20.0, 30.0]], pred=[[18.5, 30.0, 0.9]]),
        dict(gt=[[3.0, 9.0]], pred=[[6.0, 9.0, 0.9], [3.0, 9.0, 0.8]]),
        dict(gt=[[3.0, 9.0]], pred=[]),
        dict(gt=[], pred=[[3.0, 9.0, 0.8]]),
    ]
    assert metric.compute_entries(entries) == {'start@2': pytest.approx(100 / 3)}
    base = str(ROOT / 'configs' / 'demul_demo.py')
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{base!r}]\n{config_with("StartRecall")}')
    config = load_config(str(path))
    assert [METRICS.build(m).__class__.__name__ for m in config.test_evaluator] == [
        'MomentRecall',
        'StartRecall',
    ]
    key = config.default_hooks.checkpoint.save_best
    assert key in METRICS.build(config.val_evaluator[1]).compute_entries(entries)


def test_a_neck(parts: ModuleType, tmp_path: Path) -> None:
    base = str(ROOT / 'configs' / 'demul_demo.py')
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{base!r}]\n{config_with("MyFusion")}')
    neck = Config.fromfile(path).model.neck
    assert neck == dict(type='MyFusion', dim=128)
    model = MODELS.build({**tiny_config(), 'neck': dict(neck, dim=DIM)})
    losses = losses_of(model, tiny_data())
    sum(losses.values()).backward()
    assert model.neck.gate.weight.grad.abs().sum() > 0


def test_an_index(parts: ModuleType, tmp_path: Path) -> None:
    mine = INDEXES.build(dict(type='MyIndex', path=str(tmp_path / 'mine')))
    exact = ExactIndex(str(tmp_path / 'exact'))
    for index in (mine, exact):
        index.build(Source(make_entries(20)))
    queries = make_queries(3)
    opened = MomentIndex.open(tmp_path / 'mine')
    assert isinstance(opened, parts.MyIndex)
    assert_same_hits(opened.search(queries).hits, exact.search(queries).hits)


def test_a_method(parts: ModuleType, tmp_path: Path) -> None:
    text = config_with("type='ClipMatch'")
    assert "'../projects/_base_" in text
    path = tmp_path / 'my_method.py'
    path.write_text(text.replace("'../projects", f"'{ROOT}/projects"))
    config = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(shrunk(config.model.to_dict()))
        batch = pseudo_collate([video(config, seed, 'train') for seed in (0, 1)])
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        losses['loss_clip'].backward()
        assert model.clip.weight.grad.abs().sum() > 0
        batch = pseudo_collate([video(config, seed, 'test') for seed in (2, 3)])
        for sample in model.eval()(**model.data_preprocessor(batch, False), mode='predict'):
            for moments in sample.pred_moments:
                assert len(moments.spans)
                assert (moments.spans[:, 0] < moments.spans[:, 1]).all()


def test_encoders(parts: ModuleType, tmp_path: Path) -> None:
    base = str(ROOT / 'configs' / 'demul_demo.py')
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{base!r}]\n{config_with("TokenTable")}')
    lm = Config.fromfile(path).model.language.lm
    assert lm == dict(type='TokenTable')
    model = tiny_model(language=dict(lm=dict(lm)), memory=None)
    losses = losses_of(model, tiny_data())
    sum(losses.values()).backward()
    assert model.language.lm.table.weight.grad.abs().sum() > 0
    path.write_text(config_with("type='Colours'"))
    made = load_backbone(str(path), None, 'cpu')
    clips = torch.full((2, 3, 1, 64, 64), 128, dtype=torch.uint8)
    clips[1, 0] = 255
    rows = made.encode(clips)
    assert rows.shape == (2, 48)
    assert np.ptp(rows[0, :16]) == 0
    assert (rows[1, :16] > rows[0, :16]).all()
    assert (rows[1, 16:] == rows[0, 16:]).all()


def rows_of_the_table() -> list[list[str]]:
    table = PAGE.partition('| part |')[2].splitlines()[2:]
    return [line.strip('|').split(' | ') for line in table if line.startswith('|')]


def test_the_parts_of_the_table_are_registered() -> None:
    kinds = [kind for kind in vars(registry).values() if isinstance(kind, registry.Registry)]
    names = [name for row in rows_of_the_table() for name in re.findall(r'`(\w+)`', row[0])]
    assert len(names) > 25
    for name in names:
        assert any(kind.get(name) for kind in kinds if kind.scope == 'demul_mm'), name


def test_parts_by_themselves() -> None:
    """In the scope of another package, on plain tensors, with the shapes of the table."""
    clips, mask = torch.rand(2, 12, 6), torch.ones(2, 12, dtype=torch.bool)
    ids = torch.randint(100, 200, (3, 5))
    words = torch.ones(3, 5, dtype=torch.bool)
    with DefaultScope.overwrite_default_scope('mmengine'):
        build = ROOT_MODELS.build
        tower = build(dict(type='demul_mm.TemporalTower', in_dim=6, dim=16))
        pyramid = build(dict(type='demul_mm.TemporalPyramid', dim=16, num_levels=2))
        cells, valid = pyramid(tower(clips, mask), mask)
        assert (cells.shape, valid.shape) == ((2, 18, 16), (2, 18))
        cnn = dict(type='demul_mm.ClipCNN', out_dim=7)
        pixels = torch.rand(4, 3, 4, 32, 32)
        assert build(cnn)(pixels).shape == (4, 7)
        assert build(dict(type='demul_mm.FrameEncoder', backbone=cnn))([pixels])[0].shape == (4, 7)
        lm = dict(type='demul_mm.TransformersLM', name='minilm', tune='none')
        assert build(lm)(ids, words).shape == (3, 5, 384)
        language = build(dict(type='demul_mm.LanguageEncoder', lm=lm, dim=16))(ids, words)
        assert language.sentence.shape == (3, 16)
        assert build(dict(type='demul_mm.ScoreCalibrator'))(torch.zeros(3)).shape == (3,)
    spans = torch.tensor([[[0.0, 1.0], [0.0, 0.9], [3.0, 4.0]]])
    scores, valid = torch.tensor([[0.5, 0.9, 0.4]]), torch.ones(1, 3, dtype=torch.bool)
    best, *_ = TASK_UTILS.build(dict(type='MomentNMS', iou_thr=0.5, max_keep=2))(
        spans, scores, valid
    )
    assert best.tolist() == spans[:, [1, 2]].tolist()
