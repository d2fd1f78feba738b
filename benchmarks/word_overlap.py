"""Find moments and videos by shared words alone: the bar for videos that are read as text.

Clips and queries are compared by TF-IDF, whose document frequencies are those of the clips. The
similarity of clips and a query is smoothed; the score of a window is the sum of what its clips have
above the video's mean, divided by the square root of its length, and of windows that overlap by
more than half the best is kept. The score of a video is that of its best clip, or that of its whole
text, by TF-IDF or by the BM25 that an index adds to vectors. Nothing is learned from any query:
there are no folds.

Examples:
    python benchmarks/word_overlap.py configs/demul_qvhighlights_captions_cv.py \\
        data/qvhighlights/annotations/captions_val.zip
    python benchmarks/word_overlap.py configs/demul_youcook2_transcripts_cv.py \\
        data/youcook2/annotations/videos.jsonl --out work_dirs/youcook2_words.json
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from mmengine.config import Config

    from demul_mm.datasets.subtitles import Subtitle
    from demul_mm.evaluation.predictions import PredictionEntry

LENGTHS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 60)  # clips of a window
SIGMA = 2.0  # clips, of the smoothing
MAX_WINDOWS = 10
TOPK = (1, 5, 10, 100)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='its test data set without the folds, and its val_evaluator')
    parser.add_argument('texts', help='what tools/data/encode_subtitles.py reads')
    parser.add_argument('--clip-seconds', type=float, default=2.0, help='default: 2')
    parser.add_argument('--out', help='write the moments as a predictions file')
    add_config_options(parser)
    return parser.parse_args()


class WordOverlap:
    """TF-IDF of the clips of videos, and of the videos.

    Args:
        clips: for each video the texts of its clips.
    """

    def __init__(self, clips: Mapping[str, Sequence[str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        from demul_mm.index.words import WordIndex

        self.videos = {video_id: place for place, video_id in enumerate(clips)}
        self.first = np.cumsum([0, *map(len, clips.values())])
        texts = [text for of_video in clips.values() for text in of_video]
        self.of_clips = TfidfVectorizer(stop_words='english', sublinear_tf=True)
        self.clips = self.of_clips.fit_transform(texts)
        self.of_videos = TfidfVectorizer(stop_words='english', sublinear_tf=True)
        whole = [' '.join(of_video) for of_video in clips.values()]
        self.whole = self.of_videos.fit_transform(whole)
        self.bm25 = WordIndex.of(whole)

    def in_video(self, query: str, video_id: str) -> np.ndarray:
        """Similarity of a query and each clip of a video: ``(T,)``."""
        place = self.videos[video_id]
        own = self.clips[self.first[place] : self.first[place + 1]]
        return (own @ self.of_clips.transform([query]).T).toarray()[:, 0]

    def of_all(self, query: str) -> dict[str, np.ndarray]:
        """Similarity of a query and each video ``(V,)``, by each way to compare them."""
        clips = (self.clips @ self.of_clips.transform([query]).T).toarray()[:, 0]
        whole = (self.whole @ self.of_videos.transform([query]).T).toarray()[:, 0]
        return {
            'best clip': np.maximum.reduceat(clips, self.first[:-1]),
            'whole text': whole,
            'whole text, BM25': self.bm25.scores(query),
        }


class Windows(NamedTuple):
    """Windows over clips, and their scores."""

    spans: np.ndarray  # (N, 2) clips
    scores: np.ndarray  # (N,)


def rate_windows(similarity: np.ndarray) -> Windows:
    """All windows over the clips of a video, from their similarity to a query ``(T,)``."""
    reach = int(3 * SIGMA)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    padded = np.pad(similarity, reach, mode='edge')
    smoothed = np.convolve(padded, kernel / kernel.sum(), mode='valid')  # (T,)
    above = np.r_[0, np.cumsum(smoothed - smoothed.mean())]
    spans, scores = [], []
    for length in (length for length in LENGTHS if length <= len(similarity)):
        start = np.arange(len(similarity) - length + 1)
        spans.append(np.stack([start, start + length], 1))
        scores.append((above[length:] - above[:-length]) / math.sqrt(length))
    return Windows(np.concatenate(spans), np.concatenate(scores))


def best_windows(windows: Windows) -> Windows:
    """The best that overlap by no more than half, best first."""
    import torch

    from demul_mm.structures.nms import MomentNMS

    spans, scores = (torch.from_numpy(part).double()[None] for part in windows)
    suppress = MomentNMS(iou_thr=0.5, max_keep=MAX_WINDOWS)
    spans, scores, valid, _ = suppress(spans, scores, torch.ones_like(scores, dtype=torch.bool))
    return Windows(spans[valid].numpy(), scores[valid].numpy())


def clip_texts(subtitles: Sequence['Subtitle'], duration: float, seconds: float) -> list[str]:
    """What is said in each clip of a video; a text is in all clips that it touches."""
    clips: list[list[str]] = [[] for _ in range(max(1, math.ceil(duration / seconds)))]
    for one in subtitles:
        for clip in clips[int(one.start / seconds) : math.ceil(one.end / seconds)]:
            clip.append(one.text)
    return [' '.join(clip) for clip in clips]


def read_entries(config: 'Config') -> list['PredictionEntry']:
    """The queries of all folds, without predictions."""
    from demul_mm.evaluation.floors import annotation_entries
    from demul_mm.registry import DATASETS

    dataset = config.test_dataloader.dataset.to_dict()
    dataset.update(folds=None, pipeline=[], features=None)
    return annotation_entries(DATASETS.build(dataset))


def video_recall(
    words: WordOverlap, entries: Sequence['PredictionEntry']
) -> dict[str, dict[str, float]]:
    """``VR/R@k`` among the videos of all folds, in percent.

    A video that shares no word with the query is not found, whatever its place in the order.
    """
    ranks: dict[str, list[float]] = {}
    for entry in entries:
        own = words.videos[entry['video_id']]
        for how, similarity in words.of_all(entry['query']).items():
            order = np.argsort(-similarity, kind='stable')
            rank = int(np.flatnonzero(order == own)[0]) if similarity[own] > 0 else math.inf
            ranks.setdefault(how, []).append(rank)
    return {
        how: {f'VR/R@{k}': 100 * float(np.mean(np.array(rank) < k)) for k in TOPK}
        for how, rank in ranks.items()
    }


def main() -> None:
    args = parse_args()
    from demul_mm.datasets.subtitles import read_timed_text
    from demul_mm.evaluation.predictions import save_predictions
    from demul_mm.evaluation.rescore import evaluator_metrics, score_entries
    from demul_mm.evaluation.tables import format_markdown, split_floors

    config = load_config(args.config, args.cfg_options)
    entries = read_entries(config)
    durations = {entry['video_id']: entry['duration'] for entry in entries}
    subtitles = {
        one.video_id: one.subtitles for one in read_timed_text(args.texts, args.clip_seconds)
    }
    clips = {
        video_id: clip_texts(subtitles.get(video_id, ()), duration, args.clip_seconds)
        for video_id, duration in durations.items()
    }
    words = WordOverlap(clips)
    for entry in entries:
        best = best_windows(rate_windows(words.in_video(entry['query'], entry['video_id'])))
        seconds = np.minimum(best.spans * args.clip_seconds, entry['duration'])
        entry['pred'] = np.c_[seconds, best.scores].tolist()
    if args.out:
        save_predictions(args.out, entries, {'config': args.config, 'model': 'word overlap'})
    for metric in evaluator_metrics(config.val_evaluator):
        print(format_markdown({'words': split_floors(score_entries(metric, entries))['model']}))
    print(format_markdown(video_recall(words, entries)))


if __name__ == '__main__':
    run_tool(main)
