"""Train a ClipCNN on the sentences of a train split, to extract features with it.

Weak supervision, from annotations alone: a sentence should fit some cell of the clips inside its
moment better than any cell of the clips outside it, in its own video and in others. Sentences are
bags of the words that occur often enough. Afterwards, the centres of the sentences' vectors become
the prototypes that the features are responses to. Any data set of JSONL annotations with video
files will do; only the train file may be given.

Examples:
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out work_dirs/backbone.pth
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out backbone.pth --steps 100
"""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import argparse
import json
import re
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from tqdm import tqdm

from demul_mm.datasets.transforms.decode_clips import decode_clips
from demul_mm.models.backbones.clip_cnn import ClipCNN, best_response

CLIPS = dict(clip_seconds=0.5, window_seconds=1.0, frames_per_clip=4, size=64)
# Function words carry no picture; words rarer than this are not learnt.
STOP = set(
    'the a an is to for of and in on there we see after before once while as been being has from '
    'at by with someone films this that it'.split()
)
MIN_COUNT = 10


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', type=Path, help='JSONL annotations of the train split')
    parser.add_argument('--out', type=Path, required=True, help='checkpoint to write')
    parser.add_argument('--video-root', type=Path, help='default: the folder of the annotations')
    parser.add_argument('--steps', type=int, default=400, help='default: 400')
    parser.add_argument('--videos', type=int, default=10, help='videos in a step (default: 10)')
    parser.add_argument('--clips', type=int, default=24, help='clips of each (default: 24)')
    parser.add_argument('--dim', type=int, default=256, help='features (default: 256)')
    parser.add_argument('--lr', type=float, default=2e-3, help='default: 0.002')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='decoding processes (default: 2)')
    return parser.parse_args()


def read_videos(ann_file: Path, root: Path, workers: int) -> tuple[list[dict], list[np.ndarray]]:
    """Annotations, and the clips ``(T, 3, t, H, W)`` uint8 of each video; broken ones are left out."""
    rows = [json.loads(line) for line in ann_file.read_text(encoding='utf-8').splitlines()]
    kept, frames = [], []
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(decode_clips, str(root / row['video']), **CLIPS) for row in rows]
        for row, job in zip(rows, tqdm(jobs, desc='decode', unit='video')):
            try:
                frames.append(job.result()[0])
                kept.append(row)
            except (ValueError, FileNotFoundError) as error:
                tqdm.write(f'left out: {error}')
    if not kept:
        raise ValueError(f'{ann_file}: none of its {len(rows)} videos can be read')
    return kept, frames


def words_of(sentence: str) -> set[str]:
    return set(re.findall(r'[a-z]+', sentence.lower())) - STOP


def bags_of_words(rows: list[dict]) -> list[Tensor]:
    """For each video, ``(Q, words)``: 1 where a sentence has a word."""
    count = Counter(w for row in rows for q in row['queries'] for w in words_of(q['query']))
    vocabulary = {w: i for i, w in enumerate(w for w, n in count.most_common() if n >= MIN_COUNT)}
    if not vocabulary:
        raise ValueError(f'no word occurs {MIN_COUNT} times: there are too few sentences')
    bags = []
    for row in rows:
        bag = torch.zeros(len(row['queries']), len(vocabulary))
        for i, query in enumerate(row['queries']):
            bag[i, [vocabulary[w] for w in words_of(query['query']) if w in vocabulary]] = 1
        bags.append(bag)
    return bags


def inside(row: dict, chosen: np.ndarray, num_clips: int) -> Tensor:
    """``(Q, n)``: which of the chosen clips lie in a moment of each sentence."""
    middle = (chosen + 0.5) * row['duration'] / num_clips
    spans = [np.array(query['spans']) for query in row['queries']]
    hits = [((s[:, :1] <= middle) & (middle <= s[:, 1:])).any(0) for s in spans]
    return torch.from_numpy(np.stack(hits))


def contrast(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    """Each positive against the negatives of its row, and of its column, among ``allowed``."""
    negative = logits.masked_fill(positive | ~allowed, -1e4)
    row = (torch.logaddexp(logits, negative.logsumexp(1, keepdim=True)) - logits)[positive].mean()
    column = logits.masked_fill(~allowed, -1e4)
    right = column.masked_fill(~positive, -1e4).logsumexp(0)
    return row + 0.5 * (column.logsumexp(0) - right)[positive.any(0)].mean()


def train(
    model: ClipCNN,
    text: nn.Module,
    rows: list[dict],
    frames: list[np.ndarray],
    bags: list[Tensor],
    args: argparse.Namespace,
) -> None:
    """Contrast sentences with clips, within a video and across videos."""
    rng = np.random.default_rng(args.seed)
    scale = nn.Parameter(torch.tensor(2.3))
    parameters = [*model.parameters(), *text.parameters(), scale]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps, pct_start=0.1
    )
    bar = tqdm(range(args.steps), desc='backbone', unit='step')
    for _ in bar:
        videos = rng.choice(len(rows), min(args.videos, len(rows)), replace=False)
        clips, hits = [], []
        for v in videos:
            total = len(frames[v])
            chosen = np.sort(rng.choice(total, min(args.clips, total), replace=False))
            clips.append(torch.from_numpy(frames[v][chosen]))
            hits.append(inside(rows[v], chosen, total))
        positive = torch.block_diag(*hits).bool()
        own = torch.block_diag(*[torch.ones_like(h) for h in hits]).bool()
        with torch.autocast('cpu', torch.bfloat16):
            cells = model.embed(torch.cat(clips))
            queries = text(torch.cat([bags[v] for v in videos]))
        logits = scale.exp() * best_response(queries, cells, float(scale.exp()))
        loss = contrast(logits, positive, own)
        loss = loss + contrast(logits, positive, torch.ones_like(own))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f'{loss.item():.2f}')


@torch.no_grad()
def set_prototypes(model: ClipCNN, text: nn.Module, bags: list[Tensor], seed: int) -> None:
    """The centres of the train sentences' vectors, as unit vectors."""
    vectors = F.normalize(text(torch.cat(bags)).float(), dim=1).numpy()
    vectors = vectors[np.unique(vectors.round(4), axis=0, return_index=True)[1]]
    number = len(model.prototypes)
    if len(vectors) > number:
        vectors, _ = kmeans2(vectors, number, minit='++', seed=seed)
    found = F.normalize(torch.from_numpy(vectors[:number]).float(), dim=1)
    model.prototypes[: len(found)] = found


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    begin = time.perf_counter()
    try:
        if not args.ann_file.is_file():
            raise FileNotFoundError(f'{args.ann_file}: no such file; give the train.jsonl')
        root = args.video_root or args.ann_file.parent
        rows, frames = read_videos(args.ann_file, root, args.workers)
        bags = bags_of_words(rows)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from None
    options = dict(num_frames=CLIPS['frames_per_clip'], out_dim=args.dim)
    model = ClipCNN(**options).to(memory_format=torch.channels_last).train()
    text = nn.Sequential(nn.Linear(bags[0].shape[1], 256), nn.ReLU(), nn.Linear(256, 64))
    train(model, text, rows, frames, bags, args)
    set_prototypes(model, text, bags, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_name(args.out.name + '.tmp')
    meta = dict(backbone=dict(type='ClipCNN', **options), clips=CLIPS)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), temporary)
    os.replace(temporary, args.out)
    print(f'wrote {args.out} in {time.perf_counter() - begin:.0f} s')


if __name__ == '__main__':
    main()
