"""Which words of a query speak for which clips, drawn under its time line."""

from collections.abc import Sequence
from textwrap import shorten
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from demul_mm.visualization.style import FAINT, INK, PREDICTED, SHADES, TERM, TRUTH

PHRASE_HEIGHT = 0.21  # inches


class PhraseRows(NamedTuple):
    """``K`` words of a query and ``T`` clips."""

    texts: Sequence[str]  # K
    clips: np.ndarray  # (K, T) how far a clip's semantic logit falls without the word
    weights: Sequence[float]  # K: the mean of that in the best prediction; may be empty
    extent: float  # seconds that the clips cover

    def strongest(self, number: int = 8) -> 'PhraseRows':
        """The words that change most, in the order of the sentence: long ones have many others."""
        order = np.argsort(-np.abs(self.clips).max(1), kind='stable')[:number]
        keep = sorted(order.tolist())
        weights = [self.weights[k] for k in keep] if len(self.weights) else []
        return PhraseRows([self.texts[k] for k in keep], self.clips[keep], weights, self.extent)


def phrase_height(rows: PhraseRows | None) -> float:
    """Inches that the phrases take."""
    return 0.12 + PHRASE_HEIGHT * len(rows.texts) if rows is not None else 0.0


def draw_phrases(
    axes: Axes,
    rows: PhraseRows,
    duration: float,
    truth: Sequence[Sequence[float]] = (),
    best: Sequence[float] | None = None,
) -> None:
    """A heat map, words by time, on the time line's axis; borders of the moments stand in it.

    Args:
        rows: the words; what speaks against a clip is as light as what says nothing of it.
        duration: length of the video in seconds.
        truth: true moments ``[[start, end], ...]``.
        best: the best prediction ``[start, end, ...]``.
    """
    number = len(rows.texts)
    high = max(float(rows.clips.max()), 1e-6)
    axes.imshow(rows.clips, aspect='auto', cmap=SHADES, interpolation='nearest', vmin=0.0,
                vmax=high, extent=(0, rows.extent, number - 0.5, -0.5))  # fmt: skip
    for spans, colour in ((truth, TRUTH), ([best] if best is not None else [], PREDICTED)):
        for start, end, *_ in spans:
            axes.plot([start, start, end, end, start], [-0.5, number - 0.5, number - 0.5, -0.5,
                      -0.5], color=colour, linewidth=1.6, clip_on=False, zorder=3)  # fmt: skip
    axes.set_xlim(0, duration)
    axes.set_ylim(number - 0.5, -0.5)
    for k in range(1, number):
        axes.axhline(k - 0.5, color='white', linewidth=1.2)
    names = [shorten(text, 34, placeholder=' …') or '–' for text in rows.texts]
    axes.set_yticks(range(number), names, parse_math=False)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.tick_params(axis='x', labelcolor=FAINT)
    axes.spines[:].set_visible(False)
    scale = f'what the score loses without the word: 0 (light) to {high:.2f} (dark)'
    axes.text(1.0, -0.52, scale, fontsize=6.5, color=FAINT, ha='right', va='bottom',
              transform=axes.get_yaxis_transform())  # fmt: skip


def draw_weights(axes: Axes, rows: PhraseRows) -> None:
    """What the best prediction would lose without each word, beside the heat map."""
    places = range(len(rows.weights))
    axes.barh(places, rows.weights, height=0.6, color=TERM)
    axes.set_xlim(min([0.0, *rows.weights]), max([1.0, *rows.weights]))
    axes.set_ylim(len(rows.texts) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_title('in the best', loc='left', fontsize=6.5, color=FAINT, pad=2)
    axes.tick_params(length=0, labelsize=7, labelcolor=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.spines[:].set_visible(False)
