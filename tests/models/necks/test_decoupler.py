"""Shared and private parts."""

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.necks import SemanticDecoupler
from demul_mm.models.necks.decoupler import Centring


@pytest.fixture
def decoupler() -> SemanticDecoupler:
    torch.manual_seed(0)
    return SemanticDecoupler(8, 6, 4, streams=('visual', 'audio')).eval()


@torch.no_grad()
def encode(decoupler: SemanticDecoupler, streams: dict, stream_mask: list):
    return decoupler.encode_streams(streams, torch.tensor(stream_mask))


def test_one_projector_serves_all_modalities(decoupler: SemanticDecoupler):
    names = [name for name, _ in decoupler.named_parameters() if 'projector' in name]
    assert names == ['projector.weight', 'projector.bias']
    x = torch.randn(3, 8)
    for part in (*decoupler.streams.values(), decoupler.language):
        part.load_state_dict(decoupler.language.state_dict())
    with torch.no_grad():
        streams = {name: x[:, None] for name in decoupler.streams}
        _, private, shared = decoupler.encode_streams(streams, torch.ones(3, 2).bool())
        language, own = decoupler.encode_language(x)
    torch.testing.assert_close(shared[:, 0], language)
    torch.testing.assert_close(private[:, 0, 0], own)


def test_shared_vectors_have_length_one(decoupler: SemanticDecoupler):
    streams = {name: torch.randn(3, 5, 8) for name in decoupler.streams}
    _, _, shared = encode(decoupler, streams, [[True, True], [True, False], [False, True]])
    torch.testing.assert_close(shared.norm(dim=-1), torch.ones(3, 5))


def test_the_moment_vector_of_one_stream_ignores_the_absent_one(decoupler: SemanticDecoupler):
    streams = {name: torch.randn(2, 5, 8) for name in decoupler.streams}
    changed = {**streams, 'audio': torch.randn(2, 5, 8)}
    mask = [[True, False], [True, True]]
    one, two = encode(decoupler, streams, mask)[2], encode(decoupler, changed, mask)[2]
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[1], two[1])


def test_without_any_stream_the_moment_vector_is_zero(decoupler: SemanticDecoupler):
    streams = {name: torch.zeros(1, 5, 8) for name in decoupler.streams}
    found = encode(decoupler, streams, [[False, False]])
    assert not found[2].any()
    assert all(part.isfinite().all() for part in found)


def test_both_parts_reach_the_features(decoupler: SemanticDecoupler):
    x = torch.randn(2, 8)
    shared, private = decoupler.encode_language(x)
    before = decoupler.recombine_language(x, shared, private)
    assert before.shape == (2, 8)
    for changed in ((torch.randn(2, 6), private), (shared, torch.randn(2, 4))):
        assert not torch.allclose(decoupler.recombine_language(x, *changed), before)


def test_what_tells_modalities_and_levels_apart_is_taken_away() -> None:
    """Queries and two levels, each with a mean of its own, end up around one centre."""
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, dropout=0.0, momentum=0.1, num_levels=2)
    video, query = torch.randn(64, 5, 8), torch.randn(64, 8) + 2
    video[:, 3:] -= 2  # the second level
    mask = torch.ones(64, 5).bool()
    mask[:, 2] = False
    stray = torch.where(mask[..., None], video, 50.0)  # what is masked does not count

    def centres() -> list[torch.Tensor]:
        _, _, shared = decoupler.encode_streams({'visual': stray}, mask[:, :1], mask, (3, 2))
        told, _ = decoupler.encode_language(query)
        return [
            shared[:, :2].flatten(0, 1).mean(0),
            shared[:, 3:].flatten(0, 1).mean(0),
            told.mean(0),
        ]

    with torch.no_grad():
        assert all(centre.norm() > 0.5 for centre in decoupler.eval() and centres())
        decoupler.train()
        assert all(centre.norm() < 0.15 for centre in centres())  # the batch's own means
        for _ in range(60):
            centres()
        after = decoupler.eval() and centres()
        assert all(centre.norm() < 0.15 for centre in after)
        again = centres()
    assert all(torch.equal(a, b) for a, b in zip(after, again))  # nothing moves in evaluation


def test_running_means_move_by_the_momentum_and_see_what_counts() -> None:
    centring, means = Centring(momentum=0.1).train(), torch.zeros(1, 3)
    x = torch.randn(4, 5, 3)
    mask = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    found = centring(torch.where(mask[..., None], x, 50.0), means, mask)
    torch.testing.assert_close(means[0], 0.1 * x[mask].mean(0))
    torch.testing.assert_close(found[mask], F.normalize(x[mask] - x[mask].mean(0), dim=-1))


def test_one_alone_keeps_what_it_says() -> None:
    """A batch of one query, of one cell of a level: their own mean would leave nothing of them."""
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, dropout=0.0, momentum=0.1, num_levels=2).train()
    video, mask = torch.randn(1, 3, 8), torch.ones(1, 3).bool()
    with torch.no_grad():
        _, _, shared = decoupler.encode_streams({'visual': video}, mask[:, :1], mask, (2, 1))
        told, _ = decoupler.encode_language(torch.randn(1, 8))
    torch.testing.assert_close(shared.norm(dim=-1), torch.ones(1, 3))
    torch.testing.assert_close(told.norm(dim=-1), torch.ones(1))


def test_means_are_taken_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, dropout=0.0, momentum=0.1).train()
    with torch.autocast('cpu', torch.bfloat16):
        _, _, shared = decoupler.encode_streams(
            {'visual': torch.randn(4, 5, 8)}, torch.ones(4, 1).bool()
        )
        told, _ = decoupler.encode_language(torch.randn(4, 8))
    assert shared.dtype == told.dtype == torch.float32
    assert decoupler.video_means.any()
    assert decoupler.query_means.any()


def test_without_the_bypass_fusion_sees_the_two_parts_alone() -> None:
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, bypass=False).eval()
    x = torch.randn(3, 8)
    shared, private = decoupler.encode_language(x)
    one, two = (decoupler.recombine_language(y, shared, private) for y in (x, torch.randn(3, 8)))
    assert torch.equal(one, two)
