"""Pictures of items of a data set: as annotated, and as the pipeline leaves them."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demul_mm.datasets import MomentDataset
from demul_mm.datasets.transforms import Augmentation, PackMomentInputs
from demul_mm.video.frames import even_times, read_key_frames
from demul_mm.visualization.charts import FAINT, INK, TRUTH, plain

NUM_FRAMES = 10
MAX_TEXT = 150


def augmentations_of(dataset: MomentDataset) -> list[Augmentation]:
    return [step for step in dataset.pipeline.transforms if isinstance(step, Augmentation)]


def run_pipeline(
    dataset: MomentDataset, index: int, seed: int, only: Sequence[Augmentation] | None = None
) -> dict:
    """The results of the pipeline just before they are packed.

    Args:
        only: the augmentations to use, and surely; None: all, as they are.
    """
    results = dataset.get_data_info(index)
    results['rng'] = np.random.default_rng([seed, index])
    for step in dataset.pipeline.transforms:
        if isinstance(step, PackMomentInputs):
            break
        if only is None or not isinstance(step, Augmentation):
            results = step(results)
        elif step in only:
            prob, step.prob = step.prob, 1.0
            results = step(results)
            step.prob = prob
        if results is None:
            raise ValueError(f'{step} gave nothing for video {dataset[index]["video_id"]}')
    return results


def run_alone(dataset: MomentDataset, index: int, seed: int) -> dict[str, dict]:
    """The results of the pipeline with each of its augmentations alone, by its description."""
    return {
        repr(step): run_pipeline(dataset, index, seed, only=[step])
        for step in augmentations_of(dataset)
    }


def draw_moments(axes: Axes, title: str, info: dict, max_queries: int) -> None:
    """The sentences with their moments as bars, later sentences further down.

    A false variant (``RewordQueries``) stands behind its sentence.
    """
    shown = list(zip(info['queries'], info['gt_spans']))[:max_queries]
    left = len(info['queries']) - len(shown)
    more = f' ({left} more queries)' if left else ''
    axes.set_title(f'{title}{more}', loc='left', fontsize=9, color=INK, fontweight='bold')
    variants = info.get('hard_queries', [''] * len(shown))
    for row, (query, spans) in enumerate(shown):
        for start, end in spans:
            # Votes lie on each other: the more annotators, the darker.
            axes.barh(row, end - start, left=start, height=0.8, color=TRUTH, alpha=0.35)
        text = f'{query}   (false: {variants[row]})' if variants[row] else query
        text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + '…'
        axes.text(0.005, row, text, transform=axes.get_yaxis_transform(), va='center', fontsize=7,
                  parse_math=False)  # fmt: skip
    axes.set_xlim(0, info.get('extent', info['duration']))
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.set_yticks([])
    plain(axes, 7, 'x')


def draw_streams(axes: Axes, results: dict) -> None:
    """Similarity of every clip to every other, for the first stream that is there."""
    name, clips = next((k, rows) for k, rows in results['streams'].items() if rows is not None)
    rows = np.asarray(clips, dtype=np.float32).reshape(len(clips), -1)
    rows = rows - rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    extent = (0, results['extent'], len(rows), 0)
    axes.imshow(rows @ rows.T, aspect='auto', cmap='magma', extent=extent, interpolation='nearest')
    axes.set_title(f'{name}: {np.shape(clips)}', loc='left', fontsize=7, color=FAINT)
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=7, labelcolor=FAINT)


def draw_frames(axes: Axes, info: dict) -> None:
    frames = read_key_frames(info['video_path'], even_times(info['duration'], NUM_FRAMES))
    axes.imshow(np.concatenate([frame.image for frame in frames], axis=1), aspect='auto')
    axes.axis('off')


def draw_item(
    info: dict,
    plain: dict | None,
    draws: list[dict],
    max_queries: int,
    alone: dict[str, dict] | None = None,
) -> Figure:
    """An item as annotated; under it the pipeline without augmentations, if any, and each draw.

    ``alone`` are further results of the pipeline by their only augmentation.
    """
    has_frames = bool(info['video_path']) and os.path.isfile(info['video_path'])
    heights = [1.0] * has_frames
    steps = {f'after the pipeline, draw {number}': draw for number, draw in enumerate(draws)}
    steps.update({f'{name} alone': results for name, results in (alone or {}).items()})
    if plain is not None:
        steps = {'before augmentation (the pipeline without it)': plain, **steps}
    for part in [info, *steps.values()]:
        heights.append(0.35 + 0.2 * min(max(len(part['queries']), 1), max_queries))
        heights += [0.9] * ('streams' in part)
    figure = Figure(figsize=(11, 0.6 + 1.15 * sum(heights)), dpi=100, layout='constrained')
    title = f'{info["video_id"]}   {info["duration"]:.1f} s'
    figure.suptitle(title, x=0.01, ha='left', fontsize=11, color=INK, parse_math=False)
    panels = iter(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if has_frames:
        draw_frames(next(panels), info)
    draw_moments(next(panels), 'as annotated', info, max_queries)
    longest = max(part.get('extent', part['duration']) for part in [info, *steps.values()])
    for name, results in steps.items():
        axes = [next(panels)]
        draw_moments(axes[0], name, results, max_queries)
        if 'streams' in results:
            axes.append(next(panels))
            draw_streams(axes[1], results)
        if plain is not None:  # one second is as wide before as after
            for panel in axes:
                panel.set_xlim(0, longest)
    return figure
