"""Sentences through a frozen language model, with few tokens of padding among them.

A sentence's features may not depend on the sentences beside it, not even in the last bit: which of
them are cached already differs between a run and its resumption. So the linear layers see blocks
of one size, and attention sees each sentence as wide as it alone asks for.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.device import to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 128
"""Tokens. A longer sentence gets a block of its own, of a multiple of them."""
CHUNK = 8
"""Sentences in a block of a model that cannot read several in one row."""
WIDTH_STEP = 8
PACKABLE = ('bert',)
"""Kinds of models whose positions count from 0 and which leave attention to an interface."""


class Group(NamedTuple):
    """Sentences of a block that are equally wide."""

    place: Tensor  # (n, W) int64, where their tokens lie in the block; anywhere for padding
    mask: Tensor  # (n, 1, 1, W)


def read_frozen(
    lm: 'PreTrainedModel',
    sentences: Sequence[Tensor],
    layers: tuple[int, ...],
    device: torch.device,
) -> Iterator[tuple[int, Tensor]]:
    """The features of each sentence, in any order.

    Args:
        lm: a model of ``transformers`` in evaluation mode, on the device.
        sentences: token ids ``(L,)`` of each, on the CPU.
        layers: whose features are put side by side.

    Yields:
        The number of a sentence, and its features ``(L, E)`` on the CPU.
    """
    lengths = [len(ids) for ids in sentences]
    if lm.config.model_type not in PACKABLE:
        for chunk, width in _chunks(lengths):
            rows = chunk + chunk[:1] * (CHUNK - len(chunk))
            ids = torch.stack([F.pad(sentences[i], (0, width - lengths[i])) for i in rows])
            mask = torch.arange(width) < torch.tensor([lengths[i] for i in rows])[:, None]
            inputs = dict(input_ids=ids, attention_mask=mask.long())
            features = _read(lm, {k: to_device(v, device) for k, v in inputs.items()}, layers)
            yield from ((i, row[: lengths[i]]) for i, row in zip(chunk, features))
        return
    for block in pack(lengths, BLOCK):
        total = sum(lengths[i] for i in block)
        empty = -total % BLOCK
        ids = F.pad(torch.cat([sentences[i] for i in block]), (0, empty))
        position = F.pad(torch.cat([torch.arange(lengths[i]) for i in block]), (0, empty))
        groups, back = _group([lengths[i] for i in block], total + empty)
        inputs = dict(input_ids=ids[None], position_ids=position[None])
        further = dict(
            groups=[Group(*(to_device(t, device) for t in group)) for group in groups],
            back=to_device(back, device),
        )
        inputs = {k: to_device(v, device) for k, v in inputs.items()}
        features = _read(lm, inputs | further, layers)[0]
        parts = features[:total].split([lengths[i] for i in block])
        yield from zip(block, parts)


def pack(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Which sentences share a block: always the longest one that still fits.

    A sentence of more than ``size`` tokens is alone.
    """
    waiting: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        waiting.setdefault(length, []).append(i)
    while waiting:
        block: list[int] = []
        room = max(size, *waiting)
        while fitting := [length for length in waiting if length <= room]:
            length = max(fitting)
            block.append(waiting[length].pop())
            if not waiting[length]:
                del waiting[length]
            room = min(room, size) - length
        yield block


def _chunks(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """At most :data:`CHUNK` sentences of one width, and that width."""
    by_width: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        by_width.setdefault(-(-length // WIDTH_STEP) * WIDTH_STEP, []).append(i)
    for width, same in by_width.items():
        for start in range(0, len(same), CHUNK):
            yield same[start : start + CHUNK], width


def _group(lengths: Sequence[int], total: int) -> tuple[list[Group], Tensor]:
    """The sentences of a block by width, and where each token of it lies in the groups ``(N,)``."""
    ends = torch.tensor(lengths).cumsum(0)
    groups, start = [], 0
    back = torch.zeros(total, dtype=torch.int64)
    widths = -(-torch.tensor(lengths) // WIDTH_STEP) * WIDTH_STEP
    for width in widths.unique().tolist():
        same = widths == width
        end, length = ends[same, None], torch.tensor(lengths)[same, None]
        column = torch.arange(width)
        mask = column < length  # (n, W)
        place = torch.where(mask, end - length + column, 0)
        back[place[mask]] = start + torch.arange(mask.numel()).view(mask.shape)[mask]
        groups.append(Group(place, mask[:, None, None]))
        start += mask.numel()
    return groups, back


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    groups: Sequence[Group],
    back: Tensor,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention within each sentence of a block; ``(1, H, N, d)`` to ``(1, N, H, d)``."""
    tokens = [t[0].transpose(0, 1) for t in (query, key, value)]  # (N, H, d)
    found = []
    for place, mask in groups:
        q, k, v = (t[place].transpose(1, 2) for t in tokens)  # (n, H, W, d)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        found.append(out.transpose(1, 2).flatten(0, 1))  # (n W, H, d)
    return torch.cat(found)[back][None], None


@cache
def _register() -> str:
    """Make the attention known to ``transformers``; returns its name there."""
    from transformers import AttentionInterface

    AttentionInterface.register('packed', _attend)
    return 'packed'


def _read(lm: 'PreTrainedModel', inputs: dict, layers: tuple[int, ...]) -> Tensor:
    """``(Q, L, E)`` on the CPU."""
    usual = lm.config._attn_implementation
    lm.config._attn_implementation = _register() if 'groups' in inputs else usual
    try:
        with torch.autocast(lm.device.type, enabled=False):
            out = lm(**inputs, output_hidden_states=layers != (-1,))
    finally:
        lm.config._attn_implementation = usual
    return put_together(out, layers).cpu()


def put_together(out: Any, layers: tuple[int, ...]) -> Tensor:
    """The features of some layers of an output of ``transformers``, side by side."""
    if layers == (-1,):
        return out.last_hidden_state
    return torch.cat([out.hidden_states[layer] for layer in layers], -1)
