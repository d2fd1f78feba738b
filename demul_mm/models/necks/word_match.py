"""How many of a sentence's words are said around each clip of a video."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from demul_mm.registry import MODELS

LEAST = 1e-3
"""A clip's value from which on a word is said in it; resampling leaves less behind by rounding."""
BITS = 8


@MODELS.register_module()
class WordMatch(nn.Module):
    """Curves of how many of a sentence's words come together in a window of clips.

    The cosine of two means does not tell whether a few clips say all that is asked for or one word
    of it again and again. Here each word is looked for by itself: it counts once if it is said
    within half a window of the clip, by how rare it is, as a share of all words of the sentence.
    Words are rare that few of the training set's clips have (inverse document frequency, squared as
    in the product of two TF-IDF vectors).

    Args:
        stream: name of the stream that has the words of each clip, as ``HashedWords`` tells them;
            any value above zero says that a word is there.
        words: config of what finds a sentence's words, ``HashedWords`` as for the stream.
        windows: odd numbers of clips, a curve each.
    """

    said: Tensor
    clips: Tensor

    def __init__(
        self, stream: str, words: dict | None = None, windows: tuple[int, ...] = (5, 9, 17)
    ) -> None:
        super().__init__()
        if not windows or any(window < 1 or window % 2 == 0 for window in windows):
            raise ValueError(f'windows are {windows}; give odd numbers of clips')
        self.stream = stream
        self.words = MODELS.build({'type': 'HashedWords', **(words or {})})
        self.windows = tuple(windows)
        self.register_buffer('said', torch.zeros(self.words.out_dim))  # clips that have a word
        self.register_buffer('clips', torch.zeros(()))  # clips that have any

    def encode_video(self, x: Tensor, mask: Tensor) -> Tensor:
        """Words of clips ``x (V, T, W)`` as bits ``(V, T, W / 8)`` uint8; none outside ``mask``.

        ``W`` is 0 where no video of a batch has the stream; ValueError where it is another number.
        """
        if not x.shape[-1]:
            x = x.new_zeros(*x.shape[:-1], len(self.said))
        if x.shape[-1] != len(self.said):
            raise ValueError(
                f'the stream {self.stream!r} has {x.shape[-1]} values a clip, WordMatch reads '
                f'{len(self.said)}: make it with encode_subtitles.py --hashed-words'
            )
        there = (x > LEAST) & mask[..., None]
        if self.training:
            with torch.no_grad():
                counts = torch.cat([there.sum((0, 1)), there.any(-1).sum()[None]]).float()
                all_reduce(counts, op='sum')
                self.said += counts[:-1]
                self.clips += counts[-1]
        bits = there.unflatten(-1, (-1, BITS)).to(torch.uint8)
        return (bits << torch.arange(BITS, dtype=torch.uint8, device=x.device)).sum(
            -1, dtype=torch.uint8
        )

    def encode_query(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Which words ``Q`` sentences of tokens ``(Q, L)`` have, ``(Q, L)``; -1 for none."""
        return self.words.of(ids, mask)

    def forward(
        self, said: Tensor, asked: Tensor, video: Tensor, query: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The curves of ``R`` pairs.

        Args:
            said: ``(V, T, W / 8)`` words of the videos' clips.
            asked: ``(Q, L)`` words of the queries.
            video: ``(R,)`` int64, the video of each pair.
            query: ``(R,)`` int64, the query of each pair.

        Returns:
            Shares in [0, 1], ``(R, C, T)`` for ``C`` windows, and which clips have any word,
            ``(R, C, T)`` bool.
        """
        word = asked[query]  # (R, L)
        known = word >= 0
        word = word.clamp(min=0)
        byte = said[video[:, None], :, word // BITS]  # (R, L, T)
        hits = (byte >> (word % BITS).to(torch.uint8)[..., None]) & 1
        rarity = ((self.clips + 1) / (self.said + 1)).log().square()[word] * known
        weight = rarity / rarity.sum(1, keepdim=True).clamp(min=1e-6)
        hits = hits.to(weight.dtype)
        curves = [
            (F.max_pool1d(hits, window, 1, window // 2) * weight[..., None]).sum(1)
            for window in self.windows
        ]
        valid = (said != 0).any(-1)[video][:, None]
        return torch.stack(curves, 1), valid.expand(-1, len(curves), -1)
