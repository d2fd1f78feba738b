"""A moment as plain data, as a search returns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Moment:
    """A moment of a video.

    Attributes:
        video_id: its video.
        start: seconds.
        end: seconds.
        score: by which the moments of one origin are ranked: the calibrated (and, with soft
            suppression, decayed) joint score of a fused moment, else the inner product.
        probability: that its IoU with the truth is at least .5; None for what was not fused.
        terms: what each term of the joint score gave, and ``words`` where those of the video's text
            count; empty for what was not fused.
    """

    video_id: str
    start: float
    end: float
    score: float
    probability: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
