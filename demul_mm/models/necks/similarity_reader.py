"""Reading moments from the curve of similarity between a sentence and the clips of a video."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout, relative_position
from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.necks.fusion_stage import GATE_GAIN
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS


@MODELS.register_module()
class SimilarityReader(nn.Module):
    """Reads the curves of cosines between a sentence and the clips, at all scales of the pyramid.

    What makes a moment of a curve (it rises, stays, falls) is the same for every sentence, so a
    thousand queries teach it, where they cannot teach what wide features mean. The curves are those
    of the aligned spaces, of the shared space that is learned, and of ``WordMatch``. Dilated
    convolutions go along the clips; means and maxima of their features go up the pyramid, and the
    cells of a level see their neighbours. What was read is added to the cells, whose own features
    come in through a gate that is closed at first. Cost linear in the clips: ``T * width ** 2`` a
    layer.

    Args:
        dim: width ``D`` of the cells.
        curves: number of curves beside that: of the aligned spaces, of ``WordMatch``.
        learned: whether the curve of the learned space is read too.
        width: channels of the convolutions.
        dilations: steps of the layers along the clips, each five clips wide.
        dropout: rate on the residual branches.
    """

    def __init__(
        self,
        dim: int = 128,
        curves: int = 0,
        learned: bool = True,
        width: int = 48,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        curves += learned
        if not curves:
            raise ValueError(
                'there is no curve to read: give learned=True, or an `aligned` space, or word_match'
            )
        self.learned = learned
        self.stem = nn.Conv1d(3 * curves, width, 5, padding=2)
        self.clips = nn.ModuleList(
            nn.Conv1d(width, width, 5, padding=2 * step, dilation=step) for step in dilations
        )
        self.cells = nn.Conv1d(2 * width, width, 5, padding=2)
        self.talk = nn.Conv1d(width, width, 5, padding=2)
        self.place = nn.Linear(17, width)
        self.out = nn.Linear(width, dim)
        self.gate = nn.Parameter(torch.zeros(()))
        self.dropout = Dropout(dropout)

    def forward(
        self, cells: Tensor, cosine: Tensor, valid: Tensor, num_clips: Tensor, points: PyramidPoints
    ) -> Tensor:
        """Read the curves of ``R`` pairs.

        Args:
            cells: ``(R, N, M, D)`` of ``N`` streams.
            cosine: ``(R, C, T)`` of the sentence and each clip.
            valid: ``(R, C, T)`` bool, False where the clip has nothing that could be compared.
            num_clips: ``(R,)``.
            points: geometry of the ``M`` cells.

        Returns:
            ``(R, N, M, D)``.
        """
        inside = torch.arange(cosine.shape[-1], device=cosine.device) < num_clips[:, None]
        keep = inside[:, None].to(cosine.dtype)  # (R, 1, T)
        x = F.gelu(self.stem(self._channels(cosine, valid, keep) * keep)) * keep
        for conv in self.clips:
            x = x + self.dropout(F.gelu(conv(x))) * keep
        mean = top = x
        levels = []
        for level, size in enumerate(points.level_sizes):
            if level:
                mean = F.avg_pool1d(mean, 2)
                top, keep = F.max_pool1d(top, 2), F.max_pool1d(keep, 2)
            place = relative_position(num_clips / 2**level, size)  # (R, t, 16)
            place = F.pad(place, (0, 1), value=level / 8)
            y = self.cells(torch.cat([mean, top], 1)) + self.place(place).transpose(1, 2)
            y = F.gelu(y) * keep
            levels.append((y + self.dropout(F.gelu(self.talk(y)))) * keep)
        read = self.out(torch.cat(levels, 2).transpose(1, 2))
        read = read * points.valid(num_clips)[..., None]
        return (GATE_GAIN * self.gate).tanh() * cells + read[:, None]

    @staticmethod
    def _channels(cosine: Tensor, valid: Tensor, keep: Tensor) -> Tensor:
        """``(R, 3 C, T)``: where a curve stands in its video, how high, and where it is known."""
        number = keep.sum(-1, keepdim=True).clamp(min=1)
        centred = (cosine - (cosine * keep).sum(-1, keepdim=True) / number) * keep
        # A flat curve, as of a single clip: the root has no gradient at zero.
        variance = (centred.square().sum(-1, keepdim=True) / number).clamp(min=1e-12)
        known = valid.to(cosine.dtype) * 2 - 1
        return torch.cat([centred / (variance.sqrt() + 1e-4), 5 * cosine, known], 1)


def similarity_curves(
    spaces: Iterable[AlignedStream],
    learned: bool,
    clips: Tensor,
    queries: Tensor,
    video: Tensor,
    query: Tensor,
) -> tuple[Tensor, Tensor]:
    """Cosines of pairs and clips, ``(R, C, T)``: in the aligned spaces, then in the learned one.

    And which clips have something to compare, ``(R, C, T)``. Gradients reach the learned space
    alone.

    Args:
        spaces: aligned, in the order in which they were joined.
        learned: see :class:`SimilarityReader`.
        clips: ``(V, T, S)`` shared vectors.
        queries: ``(Q, S)`` likewise.
        video: ``(R,)`` int64, the video of each pair.
        query: ``(R,)`` int64, the query of each pair.
    """
    pairs = []  # of clips (V, T, E) and queries (Q, E)
    for space in reversed(list(spaces)):
        (clips, own), (queries, asked) = space.split(clips), space.split(queries)
        pairs.append((own.detach(), asked.detach()))
    if learned:
        pairs.append((clips.float(), queries.float()))
    if not pairs:
        none = clips.new_zeros(len(video), 0, clips.shape[1])
        return none, none.bool()
    curves = [torch.einsum('rte,re->rt', c[video], q[query]) for c, q in pairs]
    valid = [(c != 0).any(-1)[video] for c, _ in pairs]
    return torch.stack(curves, 1), torch.stack(valid, 1)
