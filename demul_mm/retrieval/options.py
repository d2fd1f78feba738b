"""How a corpus is searched: every option of a search and its default, in this one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demul_mm.index import SearchFilter
from demul_mm.structures.counts import check_count

MODES = ('fast', 'full', 'exact')


@dataclass(frozen=True)
class SearchOptions:
    """How a corpus is searched.

    Attributes:
        mode: 'fast': the index alone, without probabilities; 'full': its best videos are fused;
            'exact': the same, but the index scores every moment of every video.
        num_moments: moments of an answer, at most. Those of fused videos come first, by joint
            score; those of the other videos that the index let through follow, one each.
        num_fused: videos that are fused.
        num_videos: videos that level 2 lets through; never fewer than are fused.
        num_candidates: videos that level 1 hands to level 2; None: eight times ``num_videos``.
        per_video: moments of one video, at most; None: as many as suppression leaves.
        where: only videos that pass.
        index_options: settings of the index's level 1, as ``dict(nprobe=64)``.

    Raises:
        TypeError, ValueError: a number is none, or less than 1; the mode is unknown.
    """

    mode: str = 'full'
    num_moments: int = 10
    num_fused: int = 20
    num_videos: int = 200
    num_candidates: int | None = None
    per_video: int | None = None
    where: SearchFilter | None = None
    index_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f'mode is {self.mode!r}; allowed: {", ".join(map(repr, MODES))}')
        for name in ('num_moments', 'num_fused', 'num_videos', 'num_candidates', 'per_video'):
            value = getattr(self, name)
            if value is not None or name not in ('num_candidates', 'per_video'):
                check_count(name, value)
