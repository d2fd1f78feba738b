"""How long fusing the best videos of a query takes, with a trained model."""

import tempfile
from functools import partial
from typing import Any

import numpy as np
from measuring import percentiles, timed

from demul_mm.apis import CorpusInferencer
from demul_mm.cli import load_config

INDEX = dict(type='ExactIndex', level2='fp16')


def measure_fusion(
    config: str, checkpoint: str, options: dict | None, repeats: int, num_fused: int = 20
) -> dict[str, Any]:
    """Search one query at a time among the videos of the config's test data set.

    Args:
        config: file.
        checkpoint: file.
        options: changes of the config.
        repeats: queries.
        num_fused: videos fused for each.

    Returns:
        Milliseconds, p50 and p95, of each step and of the whole, with the encodings of all videos
        in memory and with all of them on the disk; and the mean number of clips of a video.
    """
    loaded = load_config(config, options)
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for where, kept in (('in memory', 100_000), ('on disk', 0)):
            search = CorpusInferencer(loaded, checkpoint, cache_videos=kept, cache_dir=folder)
            search.build_index(INDEX)
            measured[where] = _search_all(search, repeats, num_fused)
        videos = search.bank(search.bank.source.ids()[:num_fused])
        clips = [int(video.encoding.num_clips) for video in videos.values()]
    return dict(measured, clips=float(np.mean(clips)), num_fused=num_fused)


def _search_all(search: CorpusInferencer, repeats: int, num_fused: int) -> dict[str, Any]:
    dataset = search.bank.source.dataset
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    sentences = [sentence for info in infos for sentence in info['queries']]
    steps: dict[str, list[float]] = {}
    for i in range(repeats + 3):
        sentence = sentences[i % len(sentences)]
        total, *_ = timed(partial(search, sentence, num_fused=num_fused))
        if i >= 3:  # warm by now
            for step, seconds in dict(search.timings, total=total).items():
                steps.setdefault(step, []).append(seconds)
    return {step: percentiles(values) for step, values in steps.items()}
