"""Windowed attention equals full attention with a band mask, at a cost linear in the length."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from demul_mm.models.layers import LocalAttention, masked_softmax


def slow_attention(layer: LocalAttention, x: Tensor, mask: Tensor) -> Tensor:
    """Attention over all clips, those outside the window and invalid ones masked out."""
    num, length, dim = x.shape
    heads, radius = layer.num_heads, layer.radius
    qkv = layer.qkv(x).view(num, length, 3, heads, dim // heads)
    query, key, value = (t.transpose(1, 2) for t in qkv.unbind(2))  # (V, H, T, d)
    offset = torch.arange(length)[None] - torch.arange(length)[:, None]  # key minus query
    bias = layer.position_bias[:, offset.clamp(-radius, radius) + radius]
    logits = query @ key.transpose(-1, -2) * (dim // heads) ** -0.5 + bias
    logits = logits.masked_fill(~((offset.abs() <= radius) & mask[:, None, None]), -torch.inf)
    out = logits.softmax(-1) @ value
    return layer.out(out.transpose(1, 2).flatten(2))


@pytest.fixture(params=[1, 3, 8], ids='radius {}'.format)
def layer(request: pytest.FixtureRequest) -> LocalAttention:
    torch.manual_seed(request.param)
    layer = LocalAttention(dim=8, num_heads=2, radius=request.param)
    torch.nn.init.normal_(layer.position_bias)
    return layer


@pytest.mark.parametrize('length', [1, 2, 3, 8, 17, 24])
def test_equals_full_attention_with_a_band_mask(layer: LocalAttention, length: int):
    x = torch.randn(2, length, 8)
    mask = torch.arange(length)[None] < torch.tensor([[length], [max(1, length // 2)]])
    found, expected = layer(x, mask), slow_attention(layer, x, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_gaps_inside_the_mask_are_respected(layer: LocalAttention):
    x = torch.randn(1, 20, 8)
    mask = torch.rand(1, 20, generator=torch.Generator().manual_seed(1)) < 0.6
    found, expected = layer(x, mask), slow_attention(layer, x, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_a_clip_sees_its_radius_and_no_further(layer: LocalAttention):
    x = torch.randn(1, 30, 8, requires_grad=True)
    mask = torch.ones(1, 30, dtype=torch.bool)
    for clip in (0, 13, 29):
        (grad,) = torch.autograd.grad(layer(x, mask)[0, clip].sum(), x)
        seen = grad[0].abs().sum(-1).nonzero()[:, 0].tolist()
        assert seen == list(range(max(0, clip - layer.radius), min(30, clip + layer.radius + 1)))


def test_no_clip_is_valid(layer: LocalAttention):
    found = layer(torch.randn(1, 9, 8), torch.zeros(1, 9, dtype=torch.bool))
    assert bool(found.isfinite().all())


def flops(layer: LocalAttention, length: int) -> int:
    x, mask = torch.randn(1, length, 8), torch.ones(1, length, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        layer(x, mask)
    return counter.get_total_flops()


def test_cost_is_linear_in_the_length(layer: LocalAttention):
    """Twice the clips, twice the multiplications; full attention takes four times as many."""
    blocks = 24 * layer.radius
    assert flops(layer, 2 * blocks) == 2 * flops(layer, blocks)
    assert flops(layer, 4 * blocks) == 4 * flops(layer, blocks)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='dim 10 is not a multiple of num_heads 4'):
        LocalAttention(10, 4)


def test_masked_softmax():
    logits = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = masked_softmax(logits, mask)
    torch.testing.assert_close(found[0, [0, 2]], logits[0, [0, 2]].softmax(0))
    assert found[0, 1] == 0
    assert found[1].tolist() == [0, 0, 0]
    found.square().sum().backward()
    assert bool(logits.grad.isfinite().all())
