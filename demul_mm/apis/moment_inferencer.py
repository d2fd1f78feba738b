"""Find moments in given videos."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.apis.arguments import (
    Durations,
    Queries,
    Video,
    as_durations,
    as_queries,
    as_videos,
    check_share,
)
from demul_mm.apis.loading import load_model
from demul_mm.apis.published import Pretrained
from demul_mm.apis.videos import (
    Extractor,
    ListedVideos,
    VideoReader,
    VideoSpec,
    describe_all,
    disk_cache,
)
from demul_mm.files import inside
from demul_mm.models.heads.joint_score import TERMS, VIDEO
from demul_mm.models.localizers.explain import phrase_maps
from demul_mm.registry import INFERENCERS
from demul_mm.retrieval import EncodedVideo, EncodingCache, VideoBank, localize_pairs
from demul_mm.structures import MomentDataSample, PhraseMap, VideoEncoding
from demul_mm.structures.counts import check_count
from demul_mm.truncation import warn_cut
from demul_mm.visualization import MomentVisualizer


@INFERENCERS.register_module()
class MomentInferencer(Pretrained):
    """Find the moments that sentences describe in given videos.

    Videos are encoded once: a later call with other queries takes them from a cache.

    Args:
        model: config file, or what was read from one.
        weights: checkpoint file; None: fresh weights, for tests.
        device: where the model runs; None: a GPU where there is one.
        extractor: from a video file to its features ``(T, d)`` and the seconds they cover, for
            models that take features; None: that of the config, if it names one; see
            :class:`~demul_mm.apis.FeatureExtractor`.
        cache_videos: encodings kept in memory.
        cache_dir: folder of encodings on the disk, for later processes; None for none. With an
            extractor of one's own it is used only if that has an attribute ``fingerprint``, a text
            that is another for another extractor.

    Example:
        >>> find = MomentInferencer('configs/demul_demo.py', 'work_dirs/demo/best.pth')
        >>> find(videos='clip.mp4', queries='a red disc leaves')[0]['spans']
        [[3.2, 7.9], ...]
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        extractor: Extractor | None = None,
        cache_videos: int = 256,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.model, self.config, self.fingerprint = load_model(model, weights, device)
        self.reader = VideoReader(self.config, self.model, extractor)
        self.cache = EncodingCache(self.fingerprint, cache_videos, disk_cache(cache_dir, extractor))
        self.visualizer = MomentVisualizer()

    def __call__(
        self,
        videos: Video | Sequence[Video],
        queries: Queries,
        *,
        durations: Durations | None = None,
        batch_size: int = 8,
        num_moments: int = 5,
        no_moment_threshold: float = 0.0,
        no_match_threshold: float = 0.0,
        explain: bool = True,
        out_dir: str | Path | None = None,
    ) -> list[dict[str, Any]]:
        """Localise.

        Each keyword belongs to one stage: ``durations`` to reading, ``batch_size`` to encoding,
        ``num_moments``, the two thresholds and ``explain`` to the answer, ``out_dir`` to the
        pictures.

        Args:
            videos: one or several of: a video file; a feature file (.npy, .npz, .safetensors) or
                array or tensor ``(T, d)``, or a dict of them by stream; an id in the config's
                feature store.
            queries: a sentence or several, asked of every video; or a list of lists, one for each
                video.
            durations: seconds of each video, for features whose rows have no fixed length; a
                number for one video. Where rows have a length, the two must agree.
            batch_size: videos encoded at once.
            num_moments: moments of each answer, at most; the model's suppression may leave fewer.
            no_moment_threshold: moments less probable than this are left out.
            no_match_threshold: a query that matches the video less than this gets no moment at
                all; of the queries whose moment is there, about this share is turned away too.
            explain: say which words speak for which clips: a pass more for each word of a query.
            out_dir: where a picture of each video is written, ``<video>.png``.

        Returns:
            A dict for each video and query, video by video: ``video_id``, ``query``, ``duration``
            (seconds), ``match`` (how usual it is for a query whose moment is in the video to be no
            more like it, in [0, 1]), ``spans`` ``[[start, end], ...]`` in seconds, best first,
            ``probabilities`` that the IoU with the truth is at least .5, ``terms`` (for each
            span, what each term of its score gave), ``phrases`` (for each word of the query its
            ``text``, how far the relevance of each of the video's ``clips`` falls without it, and
            the mean of that in each span, ``weight``), ``no_moment`` (no span is left) and
            ``error``: None, or why the video could not be read; its spans are then empty.

        Raises:
            TypeError, ValueError: no video could be read, or an argument makes no sense.
        """
        listed = as_videos(videos)
        asked = as_queries(queries, len(listed))
        seconds = as_durations(durations, len(listed))
        check_share('no_moment_threshold', no_moment_threshold)
        check_share('no_match_threshold', no_match_threshold)
        check_count('num_moments', num_moments)
        check_count('batch_size', batch_size)
        tokenizer = self.model.data_preprocessor.tokenizer
        warn_cut(tokenizer, list(dict.fromkeys(q for row in asked for q in row)), 'queries')
        specs = describe_all(self.reader, listed, seconds)
        if out_dir is not None:
            _check_pictures(specs)
        encoded, errors = self._encode(specs, batch_size)
        found = self._localize(encoded, asked)
        maps = self._explain(encoded, asked, explain)
        results = []
        for i, video in enumerate(encoded):
            for q, sentence in enumerate(asked[i]):
                answer = dict(_EMPTY, video_id=_name(listed[i], specs[i]), query=sentence)
                if video is None:
                    answer['error'] = errors[i]
                else:
                    moments = found[i][q]
                    match = self._match(moments)
                    probable = moments.scores >= no_moment_threshold
                    number = num_moments if match >= no_match_threshold else 0
                    found[i][q] = moments[probable][:number]
                    answer.update(self._answer(video, found[i][q], maps[i][q]), match=match)
                results.append(answer)
        if out_dir is not None:
            self._draw(Path(out_dir), specs, encoded, asked, found, maps)
        return results

    def _encode(
        self, specs: Sequence[VideoSpec | str], batch_size: int
    ) -> tuple[list[EncodedVideo | None], list[str]]:
        """The videos, None for those that cannot be read, and why they cannot."""
        by_key = {spec.key: spec for spec in specs if isinstance(spec, VideoSpec)}
        bank = VideoBank(self.model, ListedVideos(self.reader, by_key), self.cache, batch_size)
        have = bank(list(by_key))
        encoded: list[EncodedVideo | None] = []
        errors: list[str] = []
        for spec in specs:
            if isinstance(spec, str):
                encoded.append(None)
                errors.append(spec)
            else:
                encoded.append(have.get(spec.key))
                errors.append(bank.failures.get(spec.key, ''))
        if all(video is None for video in encoded):
            raise ValueError(errors[0] if errors else 'no video was given')
        return encoded, errors

    def _localize(
        self, encoded: Sequence[EncodedVideo | None], asked: Sequence[Sequence[str]]
    ) -> list[list[InstanceData]]:
        """The moments of each video and query."""
        sentences = list(dict.fromkeys(q for row in asked for q in row))
        place = {sentence: i for i, sentence in enumerate(sentences)}
        with torch.no_grad():
            queries = self.model.encode_query(sentences)
        good = {i: video for i, video in enumerate(encoded) if video is not None}
        flat = [(n, place[q]) for n, i in enumerate(good) for q in asked[i]]
        # A pair is a query of its own here: videos do not compete.
        device = queries.shared.device
        rows = queries.select(torch.tensor([q for _, q in flat], device=device))
        wanted = [[n] for n, _ in flat]
        moments = iter(localize_pairs(self.model, list(good.values()), rows, wanted))
        found: list[list[InstanceData]] = [[] for _ in encoded]
        for i in good:
            found[i] = [next(moments)[0] for _ in asked[i]]
        return found

    def _explain(
        self, encoded: Sequence[EncodedVideo | None], asked: Sequence[Sequence[str]], wanted: bool
    ) -> list[list[PhraseMap]]:
        """For each video and query which words speak for which clips; no words if not wanted."""
        device = next(self.model.parameters()).device
        maps: list[list[PhraseMap]] = []
        for video, queries in zip(encoded, asked):
            if video is None or not wanted:
                maps.append([PhraseMap([], torch.zeros(0, 1)) for _ in queries])
                continue
            encoding = VideoEncoding(*(field.to(device) for field in video.encoding))
            maps.append(phrase_maps(self.model, encoding, queries))
        return maps

    def _match(self, moments: InstanceData) -> float:
        """How usual so low a likeness of query and video is where the moment is there."""
        calibrator = self.model.calibrator
        likeness = moments.terms[:1, VIDEO].to(calibrator.match_levels.device)
        return round(float(calibrator.match(likeness)), 4)

    def _answer(self, video: EncodedVideo, moments: InstanceData, phrases: PhraseMap) -> dict:
        weights = phrases.within(moments.spans / video.extent)  # (K, moments)
        return dict(
            duration=video.duration,
            spans=_rounded(moments.spans, 3),
            probabilities=_rounded(moments.scores, 6),
            terms=[dict(zip(TERMS, row)) for row in _rounded(moments.terms, 4)],
            phrases=[
                dict(text=text, weight=weight, clips=row)
                for text, weight, row in zip(
                    phrases.texts, _rounded(weights, 4), _rounded(phrases.clips, 4)
                )
            ],
            no_moment=not len(moments.scores),
        )

    def _draw(
        self,
        out_dir: Path,
        specs: Sequence[VideoSpec | str],
        encoded: Sequence[EncodedVideo | None],
        asked: Sequence[Sequence[str]],
        found: Sequence[Sequence[InstanceData]],
        maps: Sequence[Sequence[PhraseMap]],
    ) -> None:
        rows = zip(specs, encoded, asked, found, maps)
        for spec, video, queries, moments, phrases in rows:
            if video is None or isinstance(spec, str):
                continue
            sample = MomentDataSample()
            seconds = dict(duration=video.duration, extent=video.extent)
            sample.set_metainfo(dict(video_id=spec.name, **seconds))
            sample.queries, sample.pred_moments = list(queries), list(moments)
            sample.pred_phrases = list(phrases)
            self.visualizer.add_datasample(
                spec.name,
                sample,
                video_path=spec.value if spec.kind == 'file' else None,
                draw_gt=False,
                out_file=inside(out_dir, spec.name, '.png'),
            )


_EMPTY: dict[str, Any] = dict(
    video_id='',
    query='',
    duration=None,
    match=None,
    spans=[],
    probabilities=[],
    terms=[],
    phrases=[],
    no_moment=True,
    error=None,
)


def _check_pictures(specs: Sequence[VideoSpec | str]) -> None:
    """Refuse what would be drawn into one file."""
    names = Counter(spec.name for spec in specs if isinstance(spec, VideoSpec))
    name, count = max(names.items(), key=lambda item: item[1], default=('', 0))
    if count > 1:
        raise ValueError(
            f'{count} videos are called {name!r}, each would have the picture {name}.png; give '
            'each once, with a list of its own queries, or leave out_dir out'
        )


def _name(video: Any, spec: VideoSpec | str) -> str:
    if isinstance(spec, VideoSpec):
        return spec.name
    return str(video) if isinstance(video, (str, Path)) else 'array'


def _rounded(values: Tensor, digits: int) -> list:
    return np.round(values.double().cpu().numpy(), digits).tolist()
