"""One stage of progressive fusion."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import NeighbourMix, masked_softmax
from demul_mm.models.task_modules.points import PyramidPoints

# Adam moves a lone number by about the learning rate a step, and a gate has to open from 0 to
# the order of 1: without the gain that takes a thousand steps in which the text is hardly read.
GATE_GAIN = 16.0


class RelationMix(nn.Module):
    """Attention among the candidates of a pair, with their places and lengths.

    It lets candidates be compared ("the second time", "after that"), at a cost that depends on
    their number and not on the video's length.

    Args:
        dim: width ``D``, a multiple of ``num_heads``.
        num_heads: heads.
        num_bands: frequencies of the place in the video.
    """

    def __init__(self, dim: int, num_heads: int = 4, num_bands: int = 8) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'dim {dim} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.num_bands = num_bands
        self.qkv = nn.Linear(dim, 3 * dim)
        self.place = nn.Linear(4 * num_bands + 1, 2 * dim)

    def forward(self, x: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        """``x (R, K, D)``, ``mask (R, K)``, ``place (R, K, 3)`` to ``(R, K, D)``."""
        query, key, value = self.qkv(x).chunk(3, -1)
        bands = torch.arange(1, self.num_bands + 1, device=x.device) * torch.pi
        angle = (place[..., :2, None] * bands).flatten(2)  # (R, K, 2 * bands)
        encoded = torch.cat([angle.sin(), angle.cos(), place[..., 2:]], -1)
        at_query, at_key = self.place(encoded).chunk(2, -1)
        heads = [
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for t in (query + at_query, key + at_key, value)
        ]
        # Written out: on CPU, torch's fused attention is several times slower at this size.
        logits = heads[0] @ heads[1].transpose(-1, -2) * heads[0].shape[-1] ** -0.5
        out = masked_softmax(logits, mask[:, None, None]) @ heads[2]
        return out.transpose(1, 2).flatten(2)


class FusionStage(nn.Module):
    """The video reads the text through a gate, candidates attend to each other, the text reads the
    video.

    ``V <- V + tanh(a) * sigmoid(W [V; c]) * c`` with ``a = 0`` at the start, so that an untrained
    stage leaves the video as it is. ``c`` is the text that a point attends to, times the point; a
    point may also attend to nothing.

    Args:
        dim: width ``D``.
        num_heads: heads of the attention among survivors.
        talk: who talks: ``'survivors'``, all to all by attention; ``'neighbours'``, cells of a
            level side by side; or None, which is cheap enough for the cells of a whole video.
        reads_video: whether the text is updated for the next stage.
    """

    def __init__(self, dim: int, num_heads: int, talk: str | None, reads_video: bool) -> None:
        super().__init__()
        self.talk = talk
        # One matrix between the two sides of a dot product is as good as two, and it is applied to
        # the text: the video has a hundred times as many rows.
        self.key_value = nn.Linear(dim, 2 * dim)
        self.context = nn.Linear(dim, dim)
        self.gate_video = nn.Linear(dim, dim)
        self.gate_context = nn.Linear(dim, dim, bias=False)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.logit = nn.Linear(dim, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)
        if talk is not None:
            self.norm = nn.LayerNorm(dim)
            survivors = talk == 'survivors'
            self.mix = RelationMix(dim, num_heads) if survivors else NeighbourMix(dim)
            change = nn.Linear(dim, dim)
            nn.init.zeros_(change.weight)
            nn.init.zeros_(change.bias)
            self.ffn = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), change)
        self.scale = dim**-0.5
        if reads_video:
            self.read_query = nn.Linear(dim, dim)
            self.read_value = nn.Linear(dim, dim)
            self.beta = nn.Parameter(torch.zeros(()))

    def forward(
        self,
        video: Tensor,
        mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
        points: PyramidPoints,
        place: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One stage.

        Args:
            video: ``(R, M, D)``, zeros where ``mask (R, M)`` is False.
            mask: ``(R, M)``.
            text: ``(R, U, D)`` units of text.
            text_mask: ``(R, U)``.
            place: ``(R, M, 3)`` of survivors (see ``PyramidPoints.place``).

        Returns:
            video ``(R, M, D)`` and the stage's addition to the semantic logit ``(R, M)``.
        """
        key, value = self.key_value(text).chunk(2, -1)
        logits = video @ key.transpose(1, 2) * self.scale  # (R, M, U)
        attention = _attend_or_not(logits, text_mask[:, None])
        context = self.context(video * (attention @ value))  # (R, M, D)
        gate = (self.gate_video(video) + self.gate_context(context)).sigmoid()
        video = video + (GATE_GAIN * self.alpha).tanh() * (gate * context)
        keep = mask[..., None].to(video.dtype)
        if self.talk is not None:
            y = self.norm(video) * keep
            y = self.mix(y, mask, place) if self.talk == 'survivors' else self.mix(y, points)
            video = video + self.ffn(y)
        video = video * keep
        return video, self.logit(video).squeeze(-1)

    def read(self, text: Tensor, video: Tensor, mask: Tensor) -> Tensor:
        """Text ``(R, U, D)`` updated by what it attends to in ``video (R, M, D)``."""
        logits = self.read_query(text) @ video.transpose(1, 2) * self.scale  # (R, U, M)
        heard = self.read_value(masked_softmax(logits, mask[:, None]) @ video)
        return text + (GATE_GAIN * self.beta).tanh() * heard


def _attend_or_not(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis with one more, empty choice of logit 0 that is then dropped."""
    logits = F.pad(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), (0, 1))
    return logits.softmax(-1)[..., :-1]
