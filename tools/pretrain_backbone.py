"""Train the small video backbone ClipCNN on the sentences of a training split, without labels.

Clips and sentences are contrasted: within a video, clips inside a sentence's span against those
outside; across videos, sentences against each other. The features are then how well anything in a
clip fits each of a few hundred prototypes, which are put where the training sentences lie.

The checkpoint describes its backbone and clips: tools/extract_features.py needs nothing else.

Examples:
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out work_dirs/backbone.pth
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out work_dirs/backbone.pth \\
        --val data/rendered/val.jsonl --steps 2000
"""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # threads that wait must not spin

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor
from tqdm import tqdm

from demul_mm.files import replacing
from demul_mm.models.backbones.clip_cnn import ClipCNN
from demul_mm.precision import autocast
from demul_mm.pretraining.frames import FrameCache
from demul_mm.pretraining.objective import SentenceMatcher, contrastive_loss
from demul_mm.pretraining.sentences import Vocabulary


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='JSONL of the training split')
    parser.add_argument('--out', type=Path, required=True, help='checkpoint to write')
    parser.add_argument('--val', type=Path, help='JSONL to report the quality of features on')
    parser.add_argument('--video-root', type=Path, help="where a JSONL's files are (its folder)")
    parser.add_argument('--cache', type=Path, help='folder of decoded frames (default: temporary)')
    parser.add_argument('--steps', type=int, default=900, help='training steps (default: 900)')
    parser.add_argument('--videos', type=int, default=6, help='videos a step (default: 6)')
    parser.add_argument('--clips', type=int, default=16, help='clips of each video (default: 16)')
    parser.add_argument('--lr', type=float, default=2e-3, help='peak rate (default: 2e-3)')
    parser.add_argument('--dim', type=int, default=256, help='width of features (default: 256)')
    parser.add_argument('--clip-seconds', type=float, default=0.5, help='clip rate (default: 0.5)')
    parser.add_argument('--window-seconds', type=float, default=1.0, help='clip length')
    parser.add_argument('--frames', type=int, default=4, help='frames of a clip (default: 4)')
    parser.add_argument('--size', type=int, default=64, help='height and width (default: 64)')
    parser.add_argument('--workers', type=int, default=2, help='decoding processes (default: 2)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def read(path: Path) -> list[dict]:
    """Annotated videos that have queries and name a file."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; give a JSONL of annotated videos')
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line]
    rows = [row for row in rows if row['queries']]
    nameless = [row['video_id'] for row in rows if not row.get('video')]
    if nameless or not rows:
        what = f'video {nameless[0]!r} names no file' if nameless else 'no video has queries'
        raise ValueError(f"{path}: {what}; see the JSONL form ('video', 'queries')")
    return rows


class Split:
    """The videos of an annotation file with their clips and bags of words."""

    def __init__(self, path: Path, args: argparse.Namespace, clips: dict, cache: Path) -> None:
        rows = read(path)
        root = args.video_root or path.parent
        files = [(row['video_id'], str(root / row['video'])) for row in rows]
        self.frames = FrameCache(cache / path.stem, files, clips, args.workers)
        for failure in self.frames.failures:
            print(f'left out {failure}')
        self.rows = [row for row in rows if row['video_id'] in self.frames.places]
        self.sentences = [[q['query'] for q in row['queries']] for row in self.rows]

    def clips(self, index: int, which: np.ndarray | None = None) -> Tensor:
        """Some or all clips of a video, (n, 3, t, H, W) uint8."""
        return torch.from_numpy(self.frames.gather(self.rows[index]['video_id'], which))

    def inside(self, index: int) -> Tensor:
        """(Q, T) bool: the middle of the clip lies in a span of the query."""
        times = self.frames.middles(self.rows[index]['video_id'])
        inside = [
            np.any([(times >= s) & (times <= e) for s, e in q['spans']] or [times < 0], axis=0)
            for q in self.rows[index]['queries']
        ]
        return torch.from_numpy(np.stack(inside))


def train(split: Split, bags: list[Tensor], args: argparse.Namespace) -> tuple:
    """The trained backbone and matcher."""
    rng = np.random.default_rng(args.seed)
    model = ClipCNN(num_frames=args.frames, out_dim=args.dim)
    matcher = SentenceMatcher(bags[0].shape[1], model.embed_dim)
    parameters = [p for n, p in model.named_parameters() if n != 'prototypes']
    parameters += matcher.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps + 1, pct_start=0.1
    )
    insides = [split.inside(i) for i in range(len(split.rows))]
    bar = tqdm(range(args.steps), desc='train', unit='step')
    for _ in bar:
        chosen = rng.choice(len(bags), min(args.videos, len(bags)), replace=False)
        clips, positive, own = [], [], []
        for i in chosen:
            total = insides[i].shape[1]
            which = np.sort(rng.choice(total, min(args.clips, total), replace=False))
            clips.append(split.clips(i, which))
            positive.append(insides[i][:, which])
            own.append(torch.ones_like(positive[-1]))
        with autocast('auto', 'cpu'):
            cells = model.embed(torch.cat(clips))
        logits = matcher(cells, torch.cat([bags[i] for i in chosen]))
        matches, pairs = torch.block_diag(*positive).bool(), torch.block_diag(*own).bool()
        loss = contrastive_loss(logits, matches, pairs)
        loss = loss + contrastive_loss(logits, matches, torch.ones_like(pairs))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f'{loss.item():.2f}', refresh=False)
    return model.eval(), matcher.eval()


@torch.no_grad()
def set_prototypes(
    model: ClipCNN, matcher: SentenceMatcher, split: Split, bags: Tensor, seed: int
) -> None:
    """Put the prototypes where the sentences are, and measure the responses to clips."""
    sentences = torch.nn.functional.normalize(matcher.embed(bags.unique(dim=0)), dim=1)
    if len(sentences) <= model.out_dim:  # further ones between pairs of sentences
        rng = torch.Generator().manual_seed(seed)
        pairs = torch.randint(len(sentences), (2, model.out_dim - len(sentences)), generator=rng)
        centres = torch.cat([sentences, sentences[pairs[0]] + sentences[pairs[1]]])
    else:
        found, _ = kmeans2(sentences.numpy(), model.out_dim, minit='++', rng=seed)
        centres = torch.from_numpy(found)
    model.prototypes.copy_(torch.nn.functional.normalize(centres, dim=1))
    some = np.linspace(0, len(split.rows) - 1, min(60, len(split.rows))).astype(int)
    responses = torch.cat([respond(model, split, i) for i in some])
    model.mean.copy_(responses.mean(0))
    model.std.copy_(responses.std(0).clamp(min=1e-3))


@torch.no_grad()
def respond(model: ClipCNN, split: Split, index: int) -> Tensor:
    """Features of all clips of a video, (T, d)."""
    with autocast('auto', 'cpu'):
        return model(split.clips(index))


def average_precision(relevant: np.ndarray, scores: np.ndarray) -> float:
    """Area under precision and recall of a ranking; 0 where nothing is relevant."""
    hits = relevant[np.argsort(-scores, kind='stable')]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean()) if hits.any() else 0.0


@torch.no_grad()
def report(
    model: ClipCNN, matcher: SentenceMatcher, vocabulary: Vocabulary, train: Split, val: Split
) -> None:
    """Print how well sentences find their clips, and words are read from features."""
    precision, chance = [], []
    for i, sentences in enumerate(val.sentences):
        with autocast('auto', 'cpu'):
            cells = model.embed(val.clips(i))
        logits = matcher(cells, vocabulary(sentences)).numpy()
        for inside, row in zip(val.inside(i).numpy(), logits):
            if inside.any():
                precision.append(average_precision(inside, row))
                chance.append(inside.mean())
    print(
        f'sentences of {len(val.rows)} validation videos, average precision over the clips of '
        f'their video: {np.mean(precision):.3f} (chance {np.mean(chance):.3f})'
    )
    (x, y), (u, v) = (_probe_data(model, vocabulary, s) for s in (train, val))
    ridge = x.T @ x + 10.0 * torch.eye(x.shape[1])
    scores = (u @ torch.linalg.solve(ridge, x.T @ y)).numpy()
    found = [w for w in range(v.shape[1]) if v[:, w].sum() >= 20]
    reached = [average_precision(v[:, w].numpy() > 0, scores[:, w]) for w in found]
    print(
        f'{len(found)} words read from the features of single clips by a linear probe, average '
        f'precision: {np.mean(reached):.3f} (chance {float(v[:, found].mean()):.3f})'
    )


def _probe_data(model: ClipCNN, vocabulary: Vocabulary, split: Split) -> tuple[Tensor, Tensor]:
    """Features (N, d + 1) of clips that some sentence describes, and its words (N, W)."""
    features, words = [], []
    for i in range(min(len(split.rows), 150)):
        inside = split.inside(i).float()
        described = inside.any(0)
        x = respond(model, split, i)[described]
        features.append(torch.cat([x, torch.ones(len(x), 1)], 1))
        words.append(((vocabulary(split.sentences[i]) > 0).float().T @ inside > 0).T[described])
    return torch.cat(features), torch.cat(words).float()


def run(args: argparse.Namespace) -> None:
    clips = dict(
        clip_seconds=args.clip_seconds,
        window_seconds=args.window_seconds,
        frames_per_clip=args.frames,
        size=args.size,
    )
    torch.manual_seed(args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cache = args.cache or args.out.with_suffix('.frames')
    split = Split(args.annotations, args, clips, cache)
    vocabulary = Vocabulary([s for sentences in split.sentences for s in sentences])
    bags = [vocabulary(sentences) for sentences in split.sentences]
    model, matcher = train(split, bags, args)
    set_prototypes(model, matcher, split, torch.cat(bags), args.seed)
    meta = {
        'backbone': dict(type='ClipCNN', num_frames=args.frames, out_dim=args.dim),
        'clips': clips,
        'steps': args.steps,
        'seed': args.seed,
    }
    with replacing(args.out) as temporary:
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, temporary)
    print(f'wrote {args.out}: {len(vocabulary)} words, {args.dim} prototypes')
    if args.val:
        report(model, matcher, vocabulary, split, Split(args.val, args, clips, cache))
    if not args.cache:
        shutil.rmtree(cache)


def main() -> None:
    try:
        run(parse_args())
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
