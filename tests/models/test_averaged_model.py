"""The average of all weights at once is that of mmengine, one by one."""

import pytest
import torch
from mmengine.model import MomentumAnnealingEMA
from torch import nn

from demul_mm.models.averaged_model import ForeachEMA


@pytest.mark.parametrize('buffers', [False, True])
def test_it_averages_as_mmengine_does(buffers: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ours, theirs = (
        kind(model, momentum=0.02, gamma=10, update_buffers=buffers, interval=2)
        for kind in (ForeachEMA, MomentumAnnealingEMA)
    )
    for _ in range(30):
        model(torch.randn(8, 4))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update_parameters(model)
        theirs.update_parameters(model)
    assert int(ours.steps) == int(theirs.steps) == 30
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
        if 'num_batches' in name:  # has no average: mmengine would keep that of the first step
            assert int(a) == (29 if buffers else 30)  # as at the last update
        else:
            torch.testing.assert_close(a, b, msg=name)
