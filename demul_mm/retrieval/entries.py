"""From encoded videos to what an index keeps."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from demul_mm.index.entry import VideoEntry
from demul_mm.models.task_modules.points import padded_length
from demul_mm.retrieval.encodings import EncodedVideo


def make_entry(
    video: EncodedVideo, num_levels: int, levels: Sequence[int] | None = None
) -> VideoEntry:
    """An encoded video as an index entry: its cells' shared vectors and query-free spans.

    Args:
        num_levels: how many the model's pyramid has.
        levels: scales of the pyramid whose cells become moments, finest 0; None: all of them. A
            video of 128 clips has 252 cells on 6 levels, of which levels 2 to 5 are 60.

    Raises:
        ValueError: the pyramid has no such level.
    """
    encoding = video.encoding
    keep = encoding.mask[0].clone()  # (M,)
    if levels is not None:
        keep &= _on_levels(video.num_cells, num_levels, levels)
    spans = encoding.spans[0][keep].double().numpy() * video.extent
    return VideoEntry(
        video_id=video.video_id,
        moments=encoding.shared[0][keep].float().numpy(),
        spans=np.minimum(spans, video.duration).astype(np.float32),
        duration=video.duration,
        metadata=_metadata(video.meta) or None,
    )


def _on_levels(num_cells: int, num_levels: int, levels: Sequence[int]) -> torch.Tensor:
    unknown = [level for level in levels if not 0 <= level < num_levels]
    if unknown or not levels:
        raise ValueError(
            f'levels are {list(levels)}; choose from 0 (finest) to {num_levels - 1}, or give None '
            'for all'
        )
    length = padded_length(num_cells, num_levels)
    level = torch.repeat_interleave(
        torch.arange(num_levels), torch.tensor([length >> k for k in range(num_levels)])
    )
    return torch.isin(level, torch.tensor(list(levels)))


def _metadata(meta: Any) -> dict[str, Any]:
    """What searches can filter on: JSON values other than objects."""
    usable = {}
    for key, value in meta.items():
        if isinstance(value, dict):
            continue
        try:
            json.dumps(value)
        except TypeError:
            continue
        usable[str(key)] = value
    return usable
