"""From frames to clip features."""

import pytest
import torch
from torch import Tensor, nn

from demul_mm.models.backbones import FrameEncoder
from demul_mm.registry import MODELS
from tests.models.tiny import FEATURES, SENTENCES, tiny_model, tiny_sample


@MODELS.register_module()
class ToyVideoNet(nn.Module):
    """A 3-D (or 2-D) convolution with batch statistics; a feature map, or a tuple of them."""

    def __init__(self, dims: int = 3, as_tuple: bool = False, pooled: bool = False) -> None:
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.conv, self.norm = conv(3, FEATURES, 3, padding=1), norm(FEATURES)
        self.as_tuple, self.pooled, self.initialised = as_tuple, pooled, 0

    def init_weights(self) -> None:
        self.initialised += 1

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        y = self.norm(self.conv(x))
        y = y.flatten(2).mean(2) if self.pooled else y
        return (x, y) if self.as_tuple else y


def encoder(per_frame: bool = False, frozen: bool = False, chunk: int = 64, **toy) -> FrameEncoder:
    torch.manual_seed(0)
    return FrameEncoder(
        dict(type='ToyVideoNet', dims=2 if per_frame else 3, **toy),
        per_frame=per_frame,
        frozen=frozen,
        chunk_size=chunk,
    )


def clips(*lengths: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (n, 3, 2, 6, 5), generator=rng, dtype=torch.uint8) for n in lengths
    ]


@pytest.mark.parametrize('per_frame', [False, True])
def test_one_row_for_each_clip_of_each_video(per_frame: bool):
    found = encoder(per_frame).eval()(clips(3, 1, 4))
    assert [tuple(rows.shape) for rows in found] == [(3, FEATURES), (1, FEATURES), (4, FEATURES)]
    for one, video in zip(found, clips(3, 1, 4)):
        (alone,) = encoder(per_frame).eval()([video])
        torch.testing.assert_close(one, alone)


@pytest.mark.parametrize('per_frame', [False, True])
@pytest.mark.parametrize('chunk', [1, 3, 8])
def test_chunks_change_nothing(per_frame: bool, chunk: int):
    whole = encoder(per_frame).eval()(clips(5, 4))
    for one, two in zip(whole, encoder(per_frame, chunk=chunk).eval()(clips(5, 4))):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize('per_frame', [False, True])
@pytest.mark.parametrize('as_tuple', [False, True])
def test_feature_maps_are_averaged(per_frame: bool, as_tuple: bool):
    one = encoder(per_frame).eval()(clips(3))[0]
    for pooled in (False, True):
        found = encoder(per_frame, as_tuple=as_tuple, pooled=pooled).eval()(clips(3))[0]
        torch.testing.assert_close(found, one)


def test_pixels_are_normalised():
    model = encoder().eval()
    grey = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 6, 5)
    (found,) = model([grey])
    expected = model.backbone(torch.zeros(1, 3, 2, 6, 5)).flatten(2).mean(2)
    torch.testing.assert_close(found, expected)


def test_a_frozen_backbone_keeps_weights_and_statistics():
    model = encoder(frozen=True).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    (found,) = model(clips(4))
    assert not found.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert not model.backbone.training
    assert not any(p.requires_grad for p in model.parameters())


def test_a_trained_backbone_changes_both():
    model = encoder().train()
    before = model.backbone.norm.running_mean.clone()
    model(clips(4))[0].square().sum().backward()
    assert not torch.equal(model.backbone.norm.running_mean, before)
    assert all(p.grad is not None for p in model.parameters())


def test_the_backbone_loads_its_own_weights():
    model = encoder()
    model.init_weights()
    assert model.backbone.initialised == 1


def test_frames_go_through_the_whole_model():
    model = tiny_model(frame_encoder=dict(type='FrameEncoder', backbone=dict(type='ToyVideoNet')))
    samples = [tiny_sample(9.0, SENTENCES[:2], 0), tiny_sample(4.0, SENTENCES[:1], 1)]
    data = model.data_preprocessor(dict(inputs={'frames': clips(9, 3)}, data_samples=samples))
    losses = model.train().loss(data['inputs'], data['data_samples'])
    sum(losses.values()).backward()
    assert bool(model.frame_encoder.backbone.conv.weight.grad.any())
    model.eval()
    with torch.no_grad():
        encoded = model.encode_video(data['inputs'])
        features = model.frame_encoder(clips(9, 3))
        ready = model.data_preprocessor(dict(inputs={'visual': features}))
        expected = model.encode_video(ready['inputs'])
    assert all(torch.equal(a, b) for a, b in zip(encoded, expected))
    found = model.predict(data['inputs'], data['data_samples'])
    assert [len(sample.pred_moments) for sample in found] == [2, 1]
