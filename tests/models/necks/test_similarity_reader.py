"""Reading the curve of a sentence's likeness to the clips."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.necks import AlignedStream, SimilarityReader
from demul_mm.models.necks.similarity_reader import similarity_curves
from demul_mm.models.task_modules import PointGenerator, PyramidPoints
from demul_mm.registry import MODELS

from ..tiny import DIM, TOKENS, tiny_config, tiny_data

D, T = 8, 16
POINTS = PointGenerator(3)(T)


def reader(spaces: int = 1, learned: bool = False) -> SimilarityReader:
    torch.manual_seed(0)
    return SimilarityReader(D, spaces, learned, width=6, dilations=(1, 2)).eval()


def read(
    model: SimilarityReader,
    cosine: Tensor,
    num_clips: Tensor,
    told: Tensor | None = None,
    points: PyramidPoints = POINTS,
) -> Tensor:
    told = torch.ones_like(cosine, dtype=torch.bool) if told is None else told
    cells = torch.randn(len(cosine), 2, len(points.centers), D)
    return model(cells, cosine, told, num_clips, points)


def test_features_are_let_in_by_a_gate_that_is_shut_at_first() -> None:
    model, cosine = reader(), torch.randn(3, 1, T)
    first = read(model, cosine, torch.full((3,), T))
    torch.testing.assert_close(first, read(model, cosine, torch.full((3,), T)))  # other cells
    with torch.no_grad():
        model.gate.fill_(0.1)
    assert not torch.allclose(first, read(model, cosine, torch.full((3,), T)))


@pytest.mark.parametrize('curves', [1, 2])
def test_what_lies_behind_the_video_is_not_read(curves: int) -> None:
    model, cosine, number = reader(curves), torch.randn(2, curves, T), torch.tensor([T, 10])
    changed = cosine.clone()
    changed[1, :, 10:] += 5.0
    found, again = read(model, cosine, number), read(model, changed, number)
    torch.testing.assert_close(found, again)
    assert not found[1, :, ~POINTS.valid(number)[1]].any()
    assert found[1, :, POINTS.valid(number)[1]].any()


def test_a_pair_is_read_alone() -> None:
    model, cosine, number = reader(), torch.randn(4, 1, T), torch.tensor([16, 12, 7, 1])
    whole = read(model, cosine, number)
    alone = torch.cat([read(model, c[None], n[None]) for c, n in zip(cosine, number)])
    torch.testing.assert_close(whole, alone)


def test_how_far_a_video_is_padded_does_not_matter() -> None:
    model, cosine, number = reader(), torch.randn(2, 1, T), torch.tensor([T, 10])
    alone, longer = read(model, cosine, number), PointGenerator(3)(2 * T)
    found = read(model, torch.nn.functional.pad(cosine, (0, T)), number, points=longer)
    for one, two, own, its in zip(alone, found, POINTS.valid(number), longer.valid(number)):
        torch.testing.assert_close(one[:, own], two[:, its])


@pytest.mark.parametrize('number', [1, T])
def test_a_curve_without_relief_has_a_gradient(number: int) -> None:
    """Of a video of one clip, or of a still picture: a spread of zero must not make it NaN."""
    model, cosine = reader(learned=True, spaces=0), torch.full((1, 1, T), 0.25, requires_grad=True)
    read(model, cosine, torch.tensor([number])).square().sum().backward()
    assert cosine.grad is not None
    assert cosine.grad.isfinite().all()
    assert cosine.grad[..., :number].any()


def test_clips_without_text_are_told_from_unlike_ones() -> None:
    model, cosine = reader(), torch.zeros(1, 1, T)
    told = torch.arange(T)[None, None] < 5
    number = torch.tensor([T])
    assert not torch.allclose(read(model, cosine, number), read(model, cosine, number, told))


def test_aligned_spaces_are_split_as_they_were_joined() -> None:
    unit = torch.nn.functional.normalize
    spaces = [AlignedStream('a', 5, share=0.3), AlignedStream('b', 7, share=0.8)]
    learned, parts = unit(torch.randn(6, 4), dim=-1), [torch.randn(6, 5), torch.randn(6, 7)]
    parts[1][2] = 0
    joined = learned
    for space, part in zip(spaces, parts):
        joined = space.join(joined, part)
    for space, part in zip(reversed(spaces), reversed(parts)):
        joined, found = space.split(joined)
        torch.testing.assert_close(found, unit(part, dim=-1))
    torch.testing.assert_close(joined, learned)


def test_the_curves_are_cosines() -> None:
    unit = torch.nn.functional.normalize
    space = AlignedStream('a', 5, share=0.3)
    clips, queries = (unit(torch.randn(*size, 8), dim=-1) for size in ((3, T), (2,)))
    near, asked = torch.randn(3, T, 5), torch.randn(2, 5)
    near[1, 4] = 0
    video, query = torch.tensor([2, 1, 1]), torch.tensor([0, 0, 1])
    joined = space.join(clips, near), space.join(queries, asked)
    curves, told = similarity_curves([space], True, *joined, video, query)
    learned = torch.cosine_similarity(clips[video], queries[query][:, None], dim=-1)
    aligned = torch.cosine_similarity(near[video], asked[query][:, None], dim=-1)
    torch.testing.assert_close(curves, torch.stack([aligned, learned], 1))
    assert told.sum() == 3 * 2 * T - 2
    torch.testing.assert_close(
        similarity_curves([space], False, *joined, video, query)[0], aligned[:, None]
    )


def test_the_curves_of_two_spaces_are_theirs_and_have_no_gradient() -> None:
    unit = torch.nn.functional.normalize
    spaces = [AlignedStream('a', 5, share=0.3), AlignedStream('b', 7, share=0.8)]
    given = [[torch.randn(3, 6, n), torch.randn(2, n)] for n in (5, 7)]
    learned = [unit(torch.randn(3, 6, 4), dim=-1), unit(torch.randn(2, 4), dim=-1)]
    for one in (*given[0], *given[1], *learned):
        one.requires_grad_()
    joined = list(learned)
    for space, pair in zip(spaces, given):
        joined = [space.join(one, part) for one, part in zip(joined, pair)]
    video, query = torch.tensor([2, 1, 0]), torch.tensor([0, 0, 1])
    curves, _ = similarity_curves(spaces, True, *joined, video, query)
    for curve, (clips, asked) in zip(curves.unbind(1), (given[1], given[0], learned)):
        expected = torch.cosine_similarity(clips[video], asked[query][:, None], dim=-1)
        torch.testing.assert_close(curve, expected)
    curves.square().sum().backward()
    assert all(one.grad.abs().max() > 1e-3 for one in learned)
    left = [one.grad for pair in given for one in pair if one.grad is not None]
    assert all(grad.abs().max() < 1e-6 for grad in left)  # rounding


@pytest.mark.parametrize('aligned', [True, False])
def test_the_reader_learns_where_a_curve_is_high(aligned: bool) -> None:
    """Of one batch, through the whole model: the reader and its gate have a gradient."""
    config = tiny_config(
        aligned=[dict(type='AlignedStream', stream='visual', in_dim=TOKENS)] if aligned else [],
        reader=dict(type='SimilarityReader', dim=DIM, learned=not aligned),
    )
    config['streams']['visual']['in_dim'] = TOKENS
    model = MODELS.build(config).train()
    data = tiny_data()
    data['inputs']['visual'] = [rows[:, :TOKENS] for rows in data['inputs']['visual']]
    sum(model.loss(**model.data_preprocessor(data)).values()).backward()
    for name, parameter in model.reader.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_a_reader_without_a_curve_is_refused() -> None:
    with pytest.raises(ValueError, match='give learned=True, or an `aligned` space'):
        MODELS.build(tiny_config(reader=dict(type='SimilarityReader', dim=DIM, learned=False)))
