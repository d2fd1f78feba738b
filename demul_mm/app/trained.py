"""A library's videos through a trained DeMUL."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from safetensors import safe_open
from safetensors.torch import save_file

from demul_mm.apis.loading import load_model
from demul_mm.apis.published import read_published
from demul_mm.apis.videos import VideoReader
from demul_mm.app.rank_fusion import Found
from demul_mm.app.video_model import REFINED, Progress, leaving_out, suppress
from demul_mm.files import replacing
from demul_mm.index import VideoEntry
from demul_mm.models.heads.joint_score import BOUNDARY, TERMS
from demul_mm.retrieval import (
    EncodedVideo,
    encode_batch,
    encode_queries,
    localize_pairs,
    make_entry,
    stack_encodings,
)
from demul_mm.retrieval.encodings import from_file, to_file
from demul_mm.structures import QueryEncoding

# A sentence that is less like a video than this share of held-out ones were like theirs has no
# moment in it.
NO_MATCH = 0.05
# Two parts' moments of one video whose IoU is above this are one, as in most configs' suppression.
OVERLAP = 0.5
# Parts of a long video that are encoded at once.
BATCH = 8
# The parts of a video, the second at which each begins, and the video's seconds.
Parts = tuple[list[EncodedVideo], list[float], float]


class TrainedModel:
    """A trained DeMUL as a library uses it: its encoder and its :class:`VideoModel` in one.

    A video longer than the ``longest_seconds`` of the config is seen in parts of that length, each
    half over the one before; of moments that two parts find, the better one stays.

    Args:
        name: model folder, or name on huggingface.co; or a config file and its weights, with
            ``os.pathsep`` between them.
        device: where it runs; None: a GPU where there is one.
        offline: never download.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it cannot read video files.
    """

    suffix = '.safetensors'

    def __init__(
        self, name: str, device: str | torch.device | None = None, offline: bool = False
    ) -> None:
        config, _, weights = name.partition(os.pathsep)
        given = (config, weights) if weights else read_published(name, offline=offline)
        self.model, self.config, self.fingerprint = load_model(given[0], given[1], device)
        self.reader = VideoReader(self.config, self.model)
        if not self.reader.reads_files:
            raise ValueError(
                f'{name} takes features, and does not say how they are made of video files: '
                'publish it with --extractor, or write extractor=dict(checkpoint=...) in its config'
            )
        self.name = name
        self.longest = float(self.config.get('longest_seconds') or np.inf)
        pipeline = [dict(step) for step in self.config.test_dataloader.dataset.pipeline]
        self.recipe = json.dumps([pipeline, self.config.get('extractor', {}).get('clips')])
        self._levels = self.model.points.num_levels
        self._lock = threading.Lock()

    @property
    def video_model(self) -> 'TrainedModel':
        """Itself."""
        return self

    def encode_texts(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors ``(n, S)`` float32 of sentences, in the space of the index."""
        return self._encode(sentences).shared.float().cpu().numpy()

    def _encode(self, sentences: Sequence[str]) -> QueryEncoding:
        with self._lock:  # tokenizers are not for two threads
            return encode_queries(self.model, list(sentences))

    def write(self, path: str, file: Path, progress: Progress | None = None) -> None:
        rows, extent = self.reader.features(path, progress)
        seconds = extent / len(rows)
        size = len(rows) if extent <= self.longest else max(1, round(self.longest / seconds))
        starts = part_starts(len(rows), size)
        parts: list[EncodedVideo] = []
        for first in range(0, len(starts), BATCH):
            items = [
                self.reader.pack(Path(path).name, rows[start : start + size], size * seconds)
                for start in starts[first : first + BATCH]
            ]
            parts += encode_batch(self.model, pseudo_collate(items))
        encoding = stack_encodings([part.encoding for part in parts], self._levels)
        tensors = to_file(encoding)
        tensors['offsets'] = torch.tensor(
            [start * seconds for start in starts], dtype=torch.float64
        )
        with replacing(file) as temporary:
            save_file(tensors, temporary, dict(duration=repr(extent), extent=repr(size * seconds)))

    def parts(self, file: Path) -> Parts:
        """The parts of a video, the second at which each begins, and the video's seconds."""
        with safe_open(file, framework='pt') as content:
            header = content.metadata()
            tensors = {name: content.get_tensor(name) for name in list(content.keys())}
        encoding, offsets = from_file(tensors), tensors['offsets'].tolist()
        extent = float(header['extent'])
        rows = [encoding.select(torch.tensor([i])) for i in range(len(offsets))]
        videos = [EncodedVideo(file.stem, extent, extent, row, {}) for row in rows]
        return videos, offsets, float(header['duration'])

    def frames(self, file: Path) -> tuple[np.ndarray, float]:
        videos, offsets, duration = self.parts(file)
        extent, clips = videos[0].extent, int(videos[0].encoding.num_clips)
        finest = torch.cat([video.encoding.shared[:, :clips] for video in videos]).numpy()
        count = max(1, round(duration / extent * clips))
        times = (np.arange(count) + 0.5) * (duration / count)
        middles = np.array(offsets) + extent / 2
        part = np.abs(times[:, None] - middles).argmin(1)  # the one that sees most around it
        clip = ((times - np.array(offsets)[part]) / extent * clips).astype(int)
        return finest[part, clip.clip(0, clips - 1)], duration

    def entry(self, key: str, file: Path) -> VideoEntry:
        videos, offsets, duration = self.parts(file)
        entries = [make_entry(video, self._levels) for video in videos]
        spans = [entry.spans + offset for entry, offset in zip(entries, offsets)]
        return VideoEntry(
            video_id=key,
            moments=np.concatenate([entry.moments for entry in entries]),
            spans=np.minimum(np.concatenate(spans), duration).astype(np.float32),
            duration=duration,
        )

    def refine(
        self, sentence: str, vector: np.ndarray, found: list[Found], file: Callable[[str], Path]
    ) -> list[Found]:
        best = list(dict.fromkeys(one.key for one in found))[:REFINED]
        read = {}
        for key in best:
            with leaving_out(file(key)):
                read[key] = self.parts(file(key))
        fused = self._fuse(sentence, read, number=5, compete=True)
        rest = [one for one in found if one.key not in best]
        return sorted(fused, key=lambda one: -one.score) + rest

    def ask(self, sentence: str, file: Path, number: int, scorer: str) -> list[Found]:
        return self._fuse(sentence, {'': self.parts(file)}, number, NO_MATCH)

    def _fuse(
        self,
        sentence: str,
        read: dict[str, Parts],
        number: int,
        no_match: float = 0.0,
        compete: bool = False,
    ) -> list[Found]:
        """The best moments of some videos, read before, each with its calibrated probability.

        That is of the part alone, as calibration saw videos; the score, which says the order, is
        it, too, or one for which all parts of all videos compete.
        """
        if not read:
            return []
        videos = [video for parts, _, _ in read.values() for video in parts]
        owners = [(key, at) for key, (_, offsets, _) in read.items() for at in offsets]
        queries = self._encode([sentence])
        (moments,) = localize_pairs(self.model, videos, queries, [range(len(videos))])
        found: dict[str, list[Found]] = {key: [] for key in read}
        likeness = dict.fromkeys(read, -np.inf)
        for (key, at), one in zip(owners, moments):
            found[key] += self._found(key, at, read[key][2], one, compete)
            likeness[key] = max(likeness[key], one.likeness)
        return [
            found[key][best]
            for key in read
            if self._match(likeness[key]) >= no_match
            for best in suppress(
                np.array([one[1:3] for one in found[key]]).reshape(-1, 2),
                np.array([one.score for one in found[key]]),
                number,
                OVERLAP,
            )
        ]

    def _found(
        self, key: str, at: float, duration: float, moments: InstanceData, compete: bool
    ) -> list[Found]:
        """Moments of a part that begins at second ``at``."""
        calibrator = self.model.calibrator
        joint = moments.joint.to(calibrator.scale.device)
        alone = calibrator(joint + moments.alone.to(joint)).to(moments.scores)
        # Soft suppression may have lowered the score.
        lowered = moments.scores / calibrator(joint).to(moments.scores).clamp(min=1e-30)
        scores = (moments.scores if compete else alone * lowered).tolist()
        rated = moments.terms.clone()
        rated[:, BOUNDARY] += moments.alone.to(rated)
        spans, chances, terms = moments.spans.tolist(), alone.tolist(), rated.tolist()
        return [
            Found(
                key,
                at + start,
                min(at + end, duration),
                'picture',
                f'probability {chance:.3f}',
                score,
                dict(zip(TERMS, row)),
                chance,
            )
            for (start, end), score, chance, row in zip(spans, scores, chances, terms)
        ]

    def _match(self, likeness: float) -> float:
        levels = self.model.calibrator.match_levels
        return float(self.model.calibrator.match(torch.tensor([likeness]).to(levels)))


def part_starts(length: int, size: int) -> list[int]:
    """Where parts of ``size`` rows begin, each half over the one before, up to the end."""
    return [*range(0, length - size, max(1, size // 2)), max(0, length - size)]
