"""Codecs, prototypes and the choice of candidates."""

import numpy as np
import pytest
import torch

from demul_mm.index import ExactIndex, select_prototypes
from demul_mm.index.codecs import Int8Codec, ProductCodec, make_codec, train_codebook
from demul_mm.index.search import first_of_each_video
from demul_mm.index.snapshot import expand_ranges

from .corpus import make_entries, unit


def test_int8_error_is_bounded() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((500, 64)) ** 3)  # heavy tails, the hard case
    queries = unit(rng.standard_normal((20, 64)))
    codec = Int8Codec(64)
    codes = codec.encode(vectors)
    assert codes.shape == (500, 68)
    decoded = codec.decode(codes).numpy()
    scale = np.abs(vectors).max(1) / 127
    assert (np.abs(decoded - vectors) <= scale[:, None] * 0.501).all()
    scores = codec.scores(codes, torch.from_numpy(queries)).numpy()
    bound = scale / 2 * np.sqrt(64)
    assert (np.abs(scores - vectors @ queries.T) <= bound[:, None] * 1.01).all()
    np.testing.assert_allclose(scores, decoded @ queries.T, atol=3e-5)


@pytest.mark.parametrize(('name', 'error'), [('int8', 4e-3), ('fp16', 4e-4)])
def test_scores_are_close(name: str, error: float) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng.standard_normal((300, 128))), unit(rng.standard_normal((9, 128)))
    codec = make_codec(name, 128)
    scores = codec.scores(codec.encode(vectors), torch.from_numpy(queries)).numpy()
    assert np.abs(scores - vectors @ queries.T).max() < error


@pytest.mark.parametrize('dim', [1, 3, 6, 8])
@pytest.mark.parametrize('rows', [0, 1, 2])
def test_bytes_of_any_number_of_dimensions(dim: int, rows: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    codec = Int8Codec(dim)
    np.testing.assert_allclose(codec.decode(codec.encode(vectors)), vectors, atol=0.02)


def test_a_zero_vector_survives_int8() -> None:
    codec = Int8Codec(8)
    assert codec.decode(codec.encode(np.zeros((1, 8), np.float32))).abs().max() == 0


@pytest.mark.parametrize(('part_dims', 'error'), [(2, 0.02), (4, 0.2)])
def test_product_quantisation(part_dims: int, error: float) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng.standard_normal((3000, 64))), unit(rng.standard_normal((5, 64)))
    codec = ProductCodec(64, train_codebook(vectors, part_dims))
    codes = codec.encode(vectors)
    assert codes.shape == (3000, 64 // part_dims)
    decoded = codec.decode(codes).numpy()
    assert np.square(decoded - vectors).sum(1).mean() < error
    # The nearest entry of each part, by plain NumPy.
    parts = vectors[:50].reshape(50, -1, 1, part_dims)
    nearest = np.square(parts - codec.codebook[None]).sum(-1).argmin(-1)
    np.testing.assert_array_equal(codes[:50], nearest)
    scores = codec.scores(codes, torch.from_numpy(queries)).numpy()
    np.testing.assert_allclose(scores, decoded @ queries.T, atol=3e-5)
    np.testing.assert_array_equal(train_codebook(vectors, part_dims), codec.codebook)


def test_product_quantisation_of_few_vectors() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((40, 8)))
    codec = ProductCodec(8, train_codebook(vectors, 4))
    np.testing.assert_allclose(codec.decode(codec.encode(vectors)).numpy(), vectors, atol=1e-5)
    with pytest.raises(ValueError, match='by 4 dimensions cannot split 30'):
        train_codebook(np.zeros((5, 30), np.float32), 4)


def test_unknown_codec() -> None:
    with pytest.raises(ValueError, match="level2 is 'int4'; it must be one of int8, fp16, pq2"):
        ExactIndex(level2='int4')


def video_with_a_short_event(rng: np.random.Generator, clips: int) -> np.ndarray:
    """Multi-scale moments of a video whose events are long, but for one of a single clip."""
    events = unit(rng.standard_normal((3, 64)))
    which = np.arange(clips) * 2 // clips
    which[rng.integers(1, clips - 1)] = 2
    rows = unit(events[which] + 0.2 * unit(rng.standard_normal((clips, 64))))
    scales = [
        rows[s : s + w].mean(0)
        for w in (1, 2, 4, 8, 16)
        for s in range(0, clips - w + 1, max(1, w // 2))
    ]
    return np.vstack([unit(np.array(scales)), events[2]])  # last: the short event


def test_a_short_event_is_not_averaged_away() -> None:
    rng = np.random.default_rng(0)
    videos = [video_with_a_short_event(rng, 64) for _ in range(20)]
    chosen = select_prototypes([v[:-1] for v in videos], 4)
    for video, prototypes in zip(videos, chosen):
        assert prototypes.shape == (4, 64)
        np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-5)
        assert (prototypes @ video[-1]).max() > 0.8
        uniform = unit(video[:64].reshape(4, 16, 64).mean(1))
        assert (uniform @ video[-1]).max() < 0.5  # what must not happen


def test_seeds_are_those_of_greedy_k_centre() -> None:
    """Each is the moment that is least like the nearest of those before it."""
    moments = np.concatenate([entry.moments for entry in make_entries(4)])
    near = moments @ moments.T
    seeds = [int((moments @ moments.sum(0)).argmax())]
    while len(seeds) < 5:
        seeds.append(int(near[:, seeds].max(1).argmin()))
    (found,) = select_prototypes([moments], 5, refine_steps=0)
    np.testing.assert_array_equal(found, moments[seeds])


def test_prototypes_do_not_depend_on_the_company() -> None:
    rng = np.random.default_rng(0)
    videos = [unit(rng.standard_normal((m, 16))) for m in (3, 9, 9, 12, 1, 9)]
    together = select_prototypes(videos, 4)
    assert [len(p) for p in together] == [3, 4, 4, 4, 1, 4]
    for video, prototypes in zip(videos, together):
        np.testing.assert_allclose(select_prototypes([video], 4)[0], prototypes, atol=1e-6)
    np.testing.assert_array_equal(together[0], videos[0])
    with pytest.raises(ValueError, match='num_prototypes is 0'):
        select_prototypes(videos, 0)


def test_prototypes_of_a_long_video_need_no_pairs_of_moments() -> None:
    """All pairs of 300,000 moments would be 360 GB."""
    rows = unit(np.random.default_rng(0).standard_normal((300_000, 4)))
    (found,) = select_prototypes([rows.astype(np.float32)], 4)
    assert found.shape == (4, 4)
    assert (rows @ found.T).max(1).min() > -0.2  # every moment is near one of them


def test_identical_moments_need_no_special_care() -> None:
    same = np.repeat(unit(np.ones((1, 16))), 10, 0)
    np.testing.assert_allclose(select_prototypes([same], 4)[0], same[:4], atol=1e-5)


def test_first_of_each_video() -> None:
    owners = np.array([7, 3, 7, -1, 3, 9, 0])
    scores = np.array([0.5, 0.9, 0.8, 9.0, 0.1, 0.8, 0.8])
    videos, best = first_of_each_video(owners, scores, 3)
    assert videos.tolist() == [3, 0, 7]  # 0, 7 and 9 tie: by ordinal
    assert best.tolist() == [0.9, 0.8, 0.8]


def test_expand_ranges() -> None:
    starts, ends = np.array([5, 2, 9]), np.array([7, 2, 12])
    assert expand_ranges(starts, ends).tolist() == [5, 6, 9, 10, 11]


def test_a_batch_of_queries_scores_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    codec = Int8Codec(48)
    codes = codec.encode(unit(rng.standard_normal((3000, 48))))
    queries = torch.from_numpy(unit(rng.standard_normal((7, 48))))
    together = codec.scores(codes, queries)
    for i in range(7):
        assert torch.equal(codec.scores(codes, queries[i : i + 1])[:, 0], together[:, i])
    assert not codec.scores(codes, torch.zeros(1, 48)).any()
