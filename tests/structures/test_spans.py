"""Laws and hand-computed values of span IoU."""

import pytest
import torch

from demul_mm.structures import pairwise_iou, span_iou
from demul_mm.structures.spans import _sum_by_blocks


def _definition(a: list[float], b: list[float]) -> float:
    """PROTOCOL: ``max(0, min(e) - max(s)) / (max(e) - min(s))``, 0 where the denominator is 0."""
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / hull if hull else 0.0


def _random_spans(*shape: int, seed: int = 0) -> torch.Tensor:
    """Ordered spans on a coarse grid: empty ones, equal ones and touching ones occur."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 8, (*shape, 2), generator=generator).sort(-1).values.double()


@pytest.mark.parametrize(
    ('a', 'b', 'iou'),
    [
        ((0, 10), (0, 10), 1.0),
        ((0, 10), (0, 5), 0.5),
        ((0, 10), (5, 15), 1 / 3),
        ((0, 10), (10, 20), 0.0),  # touching
        ((0, 10), (90, 100), 0.0),  # apart
        ((3, 3), (3, 3), 0.0),  # both empty, the denominator is 0
        ((3, 3), (0, 10), 0.0),  # an empty span inside another
        ((5, 3), (0, 10), 0.0),  # the wrong way round: never negative
    ],
)
def test_hand_computed(a, b, iou):
    a, b = torch.tensor(a).double(), torch.tensor(b).double()
    assert span_iou(a, b).item() == pytest.approx(iou, abs=1e-12)
    assert span_iou(b, a).item() == pytest.approx(iou, abs=1e-12)


def test_equals_the_definition_to_the_last_bit():
    a, b = _random_spans(200, seed=1) / 3, _random_spans(200, seed=2) / 3
    expected = [_definition(x, y) for x, y in zip(a.tolist(), b.tolist())]
    assert span_iou(a, b).tolist() == expected


def test_symmetric_in_unit_interval_and_one_only_for_equal_spans():
    a, b = _random_spans(300, seed=3), _random_spans(300, seed=4)
    iou = span_iou(a, b)
    assert torch.equal(iou, span_iou(b, a))
    assert ((iou >= 0) & (iou <= 1)).all()
    same = (a == b).all(-1) & (a[:, 0] < a[:, 1])
    assert torch.equal(iou == 1, same)


def test_does_not_depend_on_unit_or_origin():
    a, b = _random_spans(100, seed=5), _random_spans(100, seed=6)
    torch.testing.assert_close(span_iou(a * 7.5 + 40, b * 7.5 + 40), span_iou(a, b))


def test_pairwise_is_every_pair():
    a, b = _random_spans(3, 5, seed=7), _random_spans(3, 4, seed=8)
    table = pairwise_iou(a, b)
    assert table.shape == (3, 5, 4)
    for r in range(3):
        for n in range(5):
            for m in range(4):
                assert table[r, n, m] == span_iou(a[r, n], b[r, m])
    assert pairwise_iou(a[:, :0], b).shape == (3, 0, 4)


def test_gradients_are_finite_also_for_empty_spans():
    a = _random_spans(50, seed=9).requires_grad_()
    span_iou(a, a.detach().flip(0)).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_float32_threshold_is_compared_in_float32():
    # 7 / 10 in single precision is the threshold 0.7 in single precision, as in numpy.
    iou = span_iou(torch.tensor([0.0, 7.0]), torch.tensor([0.0, 10.0]))
    assert iou.dtype == torch.float32
    assert bool(iou >= 0.7)


@pytest.mark.parametrize('shape', [(2, 1), (3, 64), (2, 65), (1, 300), (2, 130, 3)])
def test_sums_by_blocks_are_running_sums(shape: tuple[int, ...]) -> None:
    """What deterministic mode computes on a GPU."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(_sum_by_blocks(x), x.cumsum(1))
