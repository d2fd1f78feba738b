"""Shared and private parts."""

import pytest
import torch

from demul_mm.models.necks import SemanticDecoupler


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


def test_running_means_take_the_gap_between_the_modalities_away() -> None:
    """Two modalities with a mean of their own end up around one centre."""
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, dropout=0.0, momentum=0.1)
    video, query = torch.randn(64, 5, 8), torch.randn(64, 8) + 2
    mask = torch.ones(64, 5).bool()
    mask[:, 3:] = False
    stray = torch.where(mask[..., None], video, 50.0)  # what is masked does not count

    def gap() -> float:
        with torch.no_grad():
            _, _, shared = decoupler.encode_streams({'visual': stray}, mask[:, :1], mask)
            told, _ = decoupler.encode_language(query)
        return float((shared[mask].mean(0) - told.mean(0)).norm())

    before = decoupler.eval() and gap()
    decoupler.train()
    for _ in range(60):
        gap()
    decoupler.eval()
    after = gap()
    assert after < 0.1 < before
    assert gap() == after  # nothing moves in evaluation


def test_without_the_bypass_fusion_sees_the_two_parts_alone() -> None:
    torch.manual_seed(0)
    decoupler = SemanticDecoupler(8, 6, 4, bypass=False).eval()
    x = torch.randn(3, 8)
    shared, private = decoupler.encode_language(x)
    one, two = (decoupler.recombine_language(y, shared, private) for y in (x, torch.randn(3, 8)))
    assert torch.equal(one, two)
