"""Writes the corpus: annotations of its splits, the truth behind them, and the videos."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from demul_mm.files import read_text, write_atomically
from demul_mm.rendered.grammar import Grammar
from demul_mm.rendered.queries import Question, draw_questions, is_novel
from demul_mm.rendered.render import render_frames, write_mp4
from demul_mm.rendered.script import Script, write_script
from demul_mm.rendered.world import FPS, SIZE, held_out_combinations
from demul_mm.video.pyav import import_av

FORMAT_VERSION = 3
SPLITS = ('train', 'val', 'test')  # a film is drawn from its split's place: only append
MIN_QUERIES = 5


@dataclass(frozen=True)
class CorpusConfig:
    """What decides the content of a corpus; equal configs give equal files.

    Attributes:
        train: Number of training videos.
        val: Number of validation videos.
        seed: Seed of everything random.
        min_seconds: Shortest video, at least 8 s.
        max_seconds: Longest video.
        test: Number of test videos, drawn as those of validation are.
    """

    train: int = 800
    val: int = 80
    seed: int = 0
    min_seconds: float = 20.0
    max_seconds: float = 90.0
    test: int = 0

    def __post_init__(self) -> None:
        counts = {split: getattr(self, split) for split in SPLITS}
        if min(counts.values()) < 0 or not any(counts.values()):
            given = ', '.join(f'{split}={count}' for split, count in counts.items())
            raise ValueError(f'{given}: give counts of videos, at least one in all')
        if not 8 <= self.min_seconds <= self.max_seconds:
            raise ValueError(
                f'min_seconds={self.min_seconds}, max_seconds={self.max_seconds}: '
                f'need 8 <= min_seconds <= max_seconds'
            )
        if self.seed < 0:
            raise ValueError(f'seed={self.seed}: must be 0 or more')

    def videos(self) -> list[tuple[str, int]]:
        """(split, index) of all videos, in the order of the annotation files."""
        return [(s, i) for s in SPLITS for i in range(getattr(self, s))]


def compose(config: CorpusConfig, split: str, index: int) -> tuple[Script, list[Question]]:
    """The script and the questions of one video, which follow from the arguments alone."""
    rng = _rng(config, split, index, 0)
    while True:
        script = write_script(
            rng,
            novel=split != 'train',
            min_seconds=config.min_seconds,
            max_seconds=config.max_seconds,
        )
        questions = draw_questions(script, rng, novel=split != 'train')
        if len(questions) >= MIN_QUERIES:
            return script, questions


def _rng(config: CorpusConfig, split: str, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, SPLITS.index(split), index, stream])


def annotate(config: CorpusConfig, split: str, index: int) -> tuple[dict, dict]:
    """The annotation of a video in the JSONL form, and the truth behind it. Renders nothing."""
    script, questions = compose(config, split, index)
    grammar = Grammar(_rng(config, split, index, 1))
    video_id = f'{split}_{index:05d}'
    queries, all_tags = [], {}
    for number, question in enumerate(questions):
        tags = [question.kind] if question.kind != 'plain' else []
        tags += ['novel_combination'] if is_novel(question, script) else []
        tags += ['two_objects'] if question.form.other else []
        query_id = f'{video_id}#{number}'
        span = script.events[question.target].span
        sentence = grammar.sentence(question)
        queries.append({'query_id': query_id, 'query': sentence, 'spans': [list(span)]})
        all_tags[query_id] = tags
    annotation = {
        'video_id': video_id,
        'duration': script.duration,
        'video': f'videos/{video_id}.mp4',
        'queries': queries,
        'meta': {
            'actors': len(script.actors),
            'events': len(script.events),
            'tags': all_tags,
        },
    }
    return annotation, _truth(video_id, script, questions)


def _truth(video_id: str, script: Script, questions: list[Question]) -> dict:
    """What the annotations are derived from, and where each actor is at every full second."""
    tracks = []
    for pose, here, lit in zip(script.pose, script.here, script.lit):
        tracks.append(
            [
                [f / FPS, *(round(float(p), 2) for p in pose[f, :3]), bool(here[f] and lit[f])]
                for f in range(0, script.num_frames, FPS)
            ]
        )
    return {
        'video_id': video_id,
        'fps': FPS,
        'size': SIZE,
        'actors': [asdict(a) for a in script.actors],
        'events': [
            {
                'actor': e.actor,
                'action': e.action,
                'span': list(e.span),
                'side': e.side,
                'other': e.other,
                'implies': list(e.implies),
            }
            for e in script.events
        ],
        'targets': [q.target for q in questions],
        'track_fields': ['seconds', 'x', 'y', 'radius', 'visible'],
        'tracks': tracks,
    }


def _film(task: tuple[CorpusConfig, str, int, str]) -> None:
    """Render one video, unless it is there."""
    config, split, index, folder = task
    path = Path(folder) / f'{split}_{index:05d}.mp4'
    if path.exists():
        return
    script, _ = compose(config, split, index)
    write_mp4(path, render_frames(script, _rng(config, split, index, 2)))


def _film_all(tasks: list, workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_film, tasks)
        return
    # Spawned workers start clean, so that threads of the caller are no danger to them.
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        yield from pool.imap_unordered(_film, tasks, chunksize=4)


def render_corpus(
    out_dir: str | Path,
    *,
    workers: int = 1,
    videos: bool = True,
    progress: bool = False,
    **content: Any,
) -> Path:
    """Write a corpus, or finish or enlarge one that was begun with the same arguments.

    A film depends on the seed, its split and its number alone: more films change no other.

    Args:
        out_dir: Folder to write: ``train.jsonl``, ``val.jsonl``, ``test.jsonl``,
            ``truth/*.jsonl``, ``videos/`` and ``manifest.json``.
        workers: Processes that render. The result does not depend on it.
        videos: Whether to render the videos, or write the annotations alone.
        progress: Whether to show progress bars.
        content: Fields of :class:`CorpusConfig`.

    Returns:
        ``out_dir``.

    Raises:
        ValueError: When the folder holds a corpus made with other arguments, or a larger one.
    """
    config = CorpusConfig(**content)
    out = Path(out_dir)
    _check_manifest(out, config)
    (out / 'videos').mkdir(parents=True, exist_ok=True)
    (out / 'truth').mkdir(exist_ok=True)
    manifest: dict[str, Any] = {
        'format': 'demul_mm.rendered',
        'version': FORMAT_VERSION,
        'arguments': asdict(config),
        'made_with': {'numpy': np.__version__, 'av': import_av().__version__},
        'held_out': [list(c) for c in held_out_combinations()],
        'counts': {},
        'complete': False,
    }
    write_atomically(out / 'manifest.json', json.dumps(manifest, indent=1))
    for split in SPLITS:
        rows = [
            annotate(config, split, i)
            for i in tqdm(
                range(getattr(config, split)), desc=f'{split}: scripts', disable=not progress
            )
        ]
        manifest['counts'][split] = _counts([a for a, _ in rows])
        write_atomically(out / f'{split}.jsonl', ''.join(json.dumps(a) + '\n' for a, _ in rows))
        write_atomically(
            out / 'truth' / f'{split}.jsonl', ''.join(json.dumps(t) + '\n' for _, t in rows)
        )
    if videos:
        tasks = [(config, s, i, str(out / 'videos')) for s, i in config.videos()]
        bar = tqdm(total=len(tasks), desc='videos', unit='video', disable=not progress)
        for _ in _film_all(tasks, workers):
            bar.update()
        bar.close()
        manifest['complete'] = True
    write_atomically(out / 'manifest.json', json.dumps(manifest, indent=1))
    return out


def _counts(annotations: list[dict]) -> dict:
    tags = Counter(t for a in annotations for tags in a['meta']['tags'].values() for t in tags)
    return {
        'videos': len(annotations),
        'queries': sum(len(a['queries']) for a in annotations),
        'seconds': sum(a['duration'] for a in annotations),
        'tags': dict(sorted(tags.items())),
    }


def arguments_of(folder: str | Path) -> dict[str, Any]:
    """The :class:`CorpusConfig` of the corpus in a folder as a dict; empty if there is none."""
    path = Path(folder, 'manifest.json')
    return json.loads(read_text(path)).get('arguments', {}) if path.exists() else {}


def _check_manifest(out: Path, config: CorpusConfig) -> None:
    path = out / 'manifest.json'
    if not path.exists():
        return
    found = json.loads(read_text(path))
    if found.get('version') != FORMAT_VERSION:
        differing = [f'version={found.get("version")} (now {FORMAT_VERSION})']
    else:
        differing = [
            f'{key}={before} (now {now})'
            for key, now in asdict(config).items()
            if (before := found['arguments'][key]) != now and (key not in SPLITS or before > now)
        ]
    if differing:
        raise ValueError(
            f'{out} holds a corpus made with {", ".join(differing)}: '
            f'give the same arguments to finish it (counts may grow), or another folder'
        )
