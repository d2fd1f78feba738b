"""From a predictions file to what the report and the pictures show."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger

from demul_mm.evaluation.predictions import PredictionEntry
from demul_mm.files import VIDEO_SUFFIXES, list_by_id
from demul_mm.models.heads.joint_score import TERMS
from demul_mm.structures.names import as_names
from demul_mm.video.frames import KeyFrame, even_times, read_key_frames
from demul_mm.visualization.phrases import PhraseRows
from demul_mm.visualization.report import (
    ReportHit,
    ReportMoment,
    ReportQuery,
    ReportSearch,
    ReportVideo,
    overlap,
)


def find_videos(folder: str | Path, video_ids: Sequence[str]) -> dict[str, Path]:
    """Files of the videos in a folder, by id with or without the suffix; those that are there."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    files = list_by_id(root, VIDEO_SUFFIXES)
    found = {}
    for video_id in as_names(video_ids, 'video ids'):
        file = files.get(video_id) or files.get(os.path.splitext(video_id)[0])
        if file is not None:
            found[video_id] = root / file
    return found


def frames_or_none(path: Path | None, times: Sequence[float], height: int) -> list[KeyFrame]:
    """Key frames; none, with a line in the log, where the file is absent or damaged."""
    if path is None:
        return []
    try:
        return read_key_frames(path, times, height=height)
    except (FileNotFoundError, ValueError) as error:
        MMLogger.get_current_instance().warning(f'no key frames: {error}')
        return []


def group_by_video(entries: Sequence[PredictionEntry]) -> dict[str, list[PredictionEntry]]:
    """Entries of each video, in the order of the file."""
    groups: dict[str, list[PredictionEntry]] = {}
    for entry in entries:
        groups.setdefault(entry['video_id'], []).append(entry)
    return groups


def report_videos(
    entries: Sequence[PredictionEntry],
    paths: Mapping[str, Path],
    max_predictions: int = 3,
    num_frames: int = 10,
    frame_height: int = 112,
) -> list[ReportVideo]:
    """The entries as report items, a video each.

    Args:
        paths: video id to file, for key frames; may lack any.
        frame_height: pixels.
    """
    videos = []
    for video_id, own in group_by_video(entries).items():
        duration = own[0]['duration']
        frames = frames_or_none(paths.get(video_id), even_times(duration, num_frames), frame_height)
        queries = [
            ReportQuery(
                text=entry.get('query', entry['query_id']),
                truth=entry['gt'],
                predicted=_moments(entry, max_predictions),
                tags=entry.get('tags', ()),
            )
            for entry in own
        ]
        videos.append(ReportVideo(video_id, duration, queries, frames))
    return videos


def entry_phrases(entry: PredictionEntry) -> PhraseRows | None:
    """The words of an entry that say most, where it has them."""
    phrases = entry.get('phrases')
    if not phrases:
        return None
    weights = [phrase['weights'][0] for phrase in phrases if phrase['weights']]
    clips = np.array([phrase['clips'] for phrase in phrases])
    texts = [phrase['text'] for phrase in phrases]
    rows = PhraseRows(texts, clips, weights, entry.get('extent', entry['duration']))
    return rows.strongest()


def _moments(entry: PredictionEntry, limit: int) -> list[ReportMoment]:
    rows = entry['pred'][:limit]
    terms = entry.get('terms') or [[]] * len(rows)
    return [
        ReportMoment(start, end, score, dict(zip(TERMS, given)))
        for (start, end, score), given in zip(rows, terms)
    ]


def report_searches(
    entries: Sequence[PredictionEntry],
    durations: Mapping[str, float],
    paths: Mapping[str, Path],
    max_hits: int = 5,
    frame_height: int = 124,
) -> list[ReportSearch]:
    """Searches of the entries that have corpus predictions.

    Args:
        durations: video id to seconds, of all videos that may be found.
        paths: video id to file, for key frames; may lack any.
        frame_height: pixels.
    """
    searches = []
    for entry in entries:
        if 'corpus' not in entry:
            continue
        hits = []
        for video_id, start, end, score in entry['corpus'][:max_hits]:
            middle = (start + end) / 2
            frames = frames_or_none(paths.get(video_id), [middle], frame_height)
            duration = durations.get(video_id, end)
            verdict = ''
            if video_id == entry['video_id']:
                fits = any(overlap((start, end), span) >= 0.5 for span in entry['gt'])
                verdict = 'right' if fits else 'right video'
            frame = frames[0] if frames else None
            hits.append(ReportHit(video_id, duration, start, end, score, frame, verdict))
        searches.append(ReportSearch(entry.get('query', entry['query_id']), hits))
    return searches
