"""mmaction2 works from our scope and from its own, whatever is imported first.

Each case is a process of its own: what was imported before is what is under test.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demul_mm.adapters.focal import sigmoid_focal_loss
from tests.adapters.drn import has_drn

HAS_DRN = has_drn()


def run(code: str, python_path: str = '') -> str:
    """Run ``code`` in a fresh interpreter and return what it printed."""
    env = dict(os.environ, PYTHONPATH=python_path, PIP_REQUIRE_VIRTUALENV='1')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BUILD = """
import sys
from mmengine.registry import DefaultScope
from demul_mm.registry import MODELS
DefaultScope.get_instance('test', scope_name='demul_mm')
for config in (
    dict(type='mmaction.ResNet3dSlowOnly', depth=50, pretrained=None),
    dict(type='mmaction.SwinTransformer3D', arch='tiny'),
    dict(type='BMN', _scope_='mmaction', temporal_dim=10, boundary_ratio=0.5, num_samples=4,
         num_samples_per_bin=3, feat_dim=8, soft_nms_alpha=0.4, soft_nms_low_threshold=0.5,
         soft_nms_high_threshold=0.9, post_process_top_k=5),
):
    print(type(MODELS.build(config)).__name__)
from mmaction.utils import register_all_modules
register_all_modules()
assert 'torchvision' not in sys.modules and 'torchvision.ops' not in sys.modules
"""
BUILT = ['ResNet3dSlowOnly', 'SwinTransformer3D', 'BMN']


def test_import_is_cheap() -> None:
    run("import demul_mm, sys; assert not {'torch', 'mmaction', 'transformers'} & set(sys.modules)")


@pytest.mark.slow
@pytest.mark.skipif(HAS_DRN, reason='this mmaction2 has its DRN')
def test_without_drn_all_else_works_and_drn_says_how_to_get_it() -> None:
    code = """
try:
    MODELS.build(dict(type='mmaction.DRN'))
except ImportError as error:
    print(error)
"""
    lines = run('import demul_mm' + BUILD + code).splitlines()
    assert lines[:3] == BUILT
    assert 'pip install "demul-mm[drn]"' in lines[3]


@pytest.mark.slow
@pytest.mark.skipif(HAS_DRN, reason='this mmaction2 has its DRN')
def test_heals_after_a_failed_import() -> None:
    first = """
import mmaction
try:
    import mmaction.models
except ModuleNotFoundError as error:
    print(error.name)
import demul_mm
"""
    assert run(first + BUILD).splitlines() == ['mmaction.models.localizers.drn', *BUILT]


@pytest.mark.slow
def test_with_drn_its_loss_works_without_torchvision(tmp_path: Path) -> None:
    if importlib.util.find_spec('torchvision') is not None:
        pytest.skip('torchvision is installed, so nothing stands in for it')
    overlay_with_drn(tmp_path)
    code = """
import torch
from mmaction.models import DRN
print(DRN.__module__, float(DRN.loss(torch.zeros(3), torch.ones(3))))
import transformers
print(transformers.utils.is_torchvision_available())
"""
    lines = run('import demul_mm' + BUILD + code, str(tmp_path)).splitlines()
    expected = 3 * 0.25 * 0.5**2 * 0.6931472
    name, value = lines[3].split()
    assert name == 'mmaction.models.localizers.drn.drn'
    assert float(value) == pytest.approx(expected)
    assert lines[4] == 'False'


def overlay_with_drn(folder: Path) -> None:
    """Lay a whole mmaction into ``folder``: links to the installed one, and a small DRN."""
    source = Path(importlib.util.find_spec('mmaction').origin).parent
    for inner in ('.', 'models', 'models/localizers'):
        target = folder / 'mmaction' / inner
        target.mkdir(exist_ok=True, parents=True)
        for entry in (source / inner).iterdir():
            if entry.name not in ('models', 'localizers', 'drn', '__pycache__'):
                (target / entry.name).symlink_to(entry)
    drn = folder / 'mmaction/models/localizers/drn'
    drn.mkdir()
    (drn / '__init__.py').write_text('')
    (drn / 'drn.py').write_text("""
import torchvision
from mmaction.registry import MODELS

@MODELS.register_module()
class DRN:
    @staticmethod
    def loss(inputs, targets):
        return torchvision.ops.sigmoid_focal_loss(inputs, targets, 0.25, 2.0, reduction='sum')
""")


def test_focal_loss_by_hand() -> None:
    p = torch.tensor([0.9, 0.2, 0.6])
    logits, targets = torch.logit(p), torch.tensor([1.0, 0.0, 1.0])
    expected = -torch.tensor(
        [
            0.25 * 0.1**2 * torch.log(p[0]),
            0.75 * 0.2**2 * torch.log(1 - p[1]),
            0.25 * 0.4**2 * torch.log(p[2]),
        ]
    )
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets), expected)
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, targets, reduction='mean'), expected.mean()
    )
    unweighted = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=0, reduction='sum')
    bce = torch.nn.functional.binary_cross_entropy(p, targets, reduction='sum')
    torch.testing.assert_close(unweighted, bce)
    with pytest.raises(ValueError, match="'max', allowed are 'none', 'mean' and 'sum'"):
        sigmoid_focal_loss(logits, targets, reduction='max')
