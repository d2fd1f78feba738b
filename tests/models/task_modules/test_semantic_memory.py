"""The ring of captions and moments."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.models.task_modules import SemanticMemory
from tests.warm import run_ranks


def numbered(*numbers: int) -> tuple[Tensor, Tensor]:
    """Captions and moments that carry their number."""
    rows = torch.tensor(numbers, dtype=torch.float32)[:, None]
    return rows.expand(-1, 3), 10 * rows.expand(-1, 2)


def held(memory: SemanticMemory) -> list[int]:
    assert torch.equal(memory.moments[:, 0], 10 * memory.captions[:, 0])
    return sorted(memory.captions[memory.mask, 0].int().tolist())


def test_the_newest_are_kept():
    memory = SemanticMemory(3, 2, size=4)
    assert held(memory) == []
    memory.push(*numbered(1, 2, 3))
    assert held(memory) == [1, 2, 3]
    memory.push(*numbered(4, 5))
    assert held(memory) == [2, 3, 4, 5]
    memory.push(*numbered(*range(6, 17)))  # more than there is room for
    assert held(memory) == [13, 14, 15, 16]
    memory.push(*numbered(17))
    assert held(memory) == [14, 15, 16, 17]
    memory.push(*(t[:0] for t in numbered(1)))
    assert held(memory) == [14, 15, 16, 17]


def test_pairs_that_are_none_are_left_out():
    memory = SemanticMemory(3, 2, size=4)
    memory.push(*numbered(1, 2, 3), torch.tensor([True, False, True]))
    assert held(memory) == [1, 3]
    memory.push(*numbered(4, 5, 6, 7), torch.tensor([True, True, False, True]))
    assert held(memory) == [3, 4, 5, 7]


def _rank_main(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    memory = SemanticMemory(3, 2, size=6)
    valid = torch.tensor([True, rank == 0])
    memory.push(*numbered(*((1, 2), (3, 0))[rank]), valid)
    first = held(memory)
    memory.push(*numbered(*((4, 5, 6, 7), ())[rank]))  # of one rank, the newest half of the size
    torch.save((first, held(memory)), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_all_ranks_keep_the_pairs_of_all(tmp_path: Path):
    run_ranks(_rank_main, str(tmp_path))
    found = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    assert found[0] == found[1] == ([1, 2, 3], [1, 2, 3, 5, 6, 7])


def test_it_is_saved_with_the_weights():
    memory, copy = SemanticMemory(3, 2, size=4), SemanticMemory(3, 2, size=4)
    memory.push(*numbered(*range(6)))
    copy.load_state_dict(memory.state_dict())
    copy.push(*numbered(6))
    assert held(copy) == [3, 4, 5, 6]
    assert not list(memory.parameters())


def test_soft_labels_rise_from_low_to_high():
    memory = SemanticMemory(2, 2, low=0.6, high=0.9)
    cosine = torch.tensor([-1.0, 0.6, 0.75, 0.9, 1.0])
    captions = torch.stack([cosine, (1 - cosine**2).sqrt()], 1)
    found = memory.soft_label(torch.tensor([[1.0, 0.0]]), captions)
    assert found[0].tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(3)), dim=-1)


def test_without_neighbours_a_query_stays_as_it_is():
    query, caption = unit(4, 5), torch.eye(4)
    empty = SemanticMemory(4, 5, size=8)
    torch.testing.assert_close(empty.pseudo_positive(query, caption), query)
    strangers = SemanticMemory(4, 5, size=8)
    strangers.push(-torch.eye(4), unit(4, 5))
    torch.testing.assert_close(strangers.pseudo_positive(query, caption), query)


def test_neighbours_pull_by_their_likeness():
    memory = SemanticMemory(2, 2, size=8, low=0.5, high=1.0)
    memory.push(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    query, caption = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    found = memory.pseudo_positive(query, caption, gate=0.5)
    torch.testing.assert_close(found, F.normalize(torch.tensor([[1.0, 0.5]]), dim=-1))
    # Half as alike: a total weight of a half.
    caption = torch.tensor([[0.75, (1 - 0.75**2) ** 0.5]])
    memory = SemanticMemory(2, 2, size=8, low=0.5, high=1.0)
    memory.push(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    found = memory.pseudo_positive(query, caption, gate=0.5)
    torch.testing.assert_close(found, F.normalize(torch.tensor([[1.0, 0.25]]), dim=-1))
