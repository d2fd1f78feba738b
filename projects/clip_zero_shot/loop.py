"""Search of a corpus through DeMUL's index, without a trained model."""

import math
from typing import Any

import numpy as np
import torch

from demul_mm.engine.loops.corpus_test import build_index
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.index import ExactIndex, VideoEntry
from demul_mm.models.localizers.own_video import unit_clips
from demul_mm.registry import LOOPS
from demul_mm.structures import MomentDataSample
from demul_mm.structures.nms import MomentNMS
from demul_mm.zero_shot.sharpening import sharpen_found
from demul_mm.zero_shot.windows import window_spans, window_vectors
from projects.clip_zero_shot.model import ZeroShot
from projects.xml.loop import CorpusLoop


@LOOPS.register_module()
class IndexTestLoop(CorpusLoop):
    """Find every query of the split among windows of all of its videos.

    A video's windows of 1, 2, 4, ... clips go into the index, each as the mean of its clips. Its
    order is the answer's: scores of a scorer cannot be compared between videos. In the best videos
    windows get the borders that the sentence's curve has, as in the search of one's own videos.

    Args:
        runner, dataloader, evaluator: as of mmengine's ``TestLoop``.
        index: config of the index.
        num_videos: videos of each answer.
        num_moments: moments of each answer.
        num_sharpened: videos of each answer whose windows get their own borders; 0 for none.
    """

    def __init__(
        self,
        runner: object,
        dataloader: object,
        evaluator: object,
        index: dict[str, Any] | None = None,
        num_videos: int = 100,
        num_moments: int = 100,
        num_sharpened: int = 20,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.index_config = dict(index or dict(type='ExactIndex', level2='fp16'))
        self.num_videos, self.num_moments = num_videos, num_moments
        self.num_sharpened = num_sharpened

    def _answer(
        self, model: ZeroShot
    ) -> tuple[list[MomentDataSample], list[list[list]], list[list[str]]]:
        samples: list[MomentDataSample] = []
        clips, texts = [], []
        for batch in self._batches(model, samples):
            for rows, mask in zip(unit_clips(batch.clips, batch.mask).cpu(), batch.mask.cpu()):
                clips.append(rows[mask].numpy())
            if batch.text is not None:
                texts.append(batch.text.vector.cpu())
        own = {}
        for sample, rows in zip(samples, clips):
            entry = entry_of(sample, rows)
            if entry is not None:
                step = sample.metainfo.get('extent', sample.duration) / len(rows)
                own[int(sample.sample_idx)] = entry, rows, step
        videos = list(of_all_ranks(own).values())
        known = {entry.video_id: (entry, rows, step) for entry, rows, step in videos}
        index = build_index(self.index_config, (entry for entry, _, _ in videos))
        if not texts:
            return samples, [], []
        nms = MomentNMS()
        exact = isinstance(index, ExactIndex)  # more candidates would change nothing
        sentences = torch.cat(texts)
        found = index.search(
            sentences,
            num_moments=self.num_moments,
            num_videos=self.num_videos,
            num_candidates=self.num_videos if exact else None,
            nms=nms,
        )
        moments = []
        for sentence, hits in zip(sentences.numpy(), found.hits):
            curves = {}
            for name in hits.videos[: self.num_sharpened]:
                entry, rows, step = known[name]
                shown = math.ceil(entry.duration / step)  # clips that begin before its end
                curves[name] = rows[:shown] @ sentence, step
            spans, kept = sharpen_found(hits.video_ids, hits.spans.tolist(), curves, nms.iou_thr)
            moments.append(
                [
                    [name, start, min(end, known[name][0].duration), score]
                    for name, (start, end), score in zip(
                        [hits.video_ids[place] for place in kept],
                        spans.tolist(),
                        hits.scores[kept].tolist(),
                    )
                ]
            )
        return samples, moments, [hits.videos for hits in found.hits]


def entry_of(sample: MomentDataSample, clips: np.ndarray) -> VideoEntry | None:
    """A video of unit ``clips (T, S)`` as its windows with content; None: it has none."""
    windows = window_spans(len(clips))
    vectors = window_vectors(clips, windows)
    told = (vectors**2).sum(1) > 0.5
    if not told.any():
        return None
    extent = sample.metainfo.get('extent', sample.duration)
    spans = (windows * (extent / len(clips))).clip(max=sample.duration)
    return VideoEntry(
        video_id=str(sample.video_id),
        moments=vectors[told],
        spans=spans[told].astype('float32'),
        duration=float(sample.duration),
    )
