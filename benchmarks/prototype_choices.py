"""Ways to choose prototypes, and what level 1 finds with them."""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from corpus_data import BLOCK, EnlargedCorpus, SyntheticCorpus, unit
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from demul_mm.index import select_prototypes

SCALES = ((1, 1), (2, 1), (4, 2), (8, 4), (16, 8))


def uniform(moments: Tensor, k: int) -> Tensor:
    """Means of k equal stretches, in which a short event is averaged away."""
    parts = moments[:, :24].tensor_split(k, dim=1)
    return F.normalize(torch.stack([p.mean(1) for p in parts], 1), dim=-1)


def facility(moments: Tensor, k: int) -> Tensor:
    """Greedy facility location: the seeds whose summed similarity to all moments is largest."""
    similarity = moments @ moments.transpose(1, 2)
    rows = torch.arange(len(moments))
    cover = torch.full(moments.shape[:2], -1.0)
    seeds = []
    for _ in range(k):
        gains = [torch.maximum(cover, similarity[:, c]).sum(-1) for c in range(moments.shape[1])]
        seeds.append(torch.stack(gains, 1).argmax(1))
        cover = torch.maximum(cover, similarity[rows, seeds[-1]])
    return moments[rows[:, None], torch.stack(seeds, 1)]


def k_means(moments: Tensor, prototypes: Tensor, steps: int) -> Tensor:
    """Spherical k-means from given seeds."""
    for _ in range(steps):
        nearest = (moments @ prototypes.transpose(1, 2)).argmax(-1)
        member = F.one_hot(nearest, prototypes.shape[1]).float()
        prototypes = F.normalize(member.transpose(1, 2) @ moments + 1e-6 * prototypes, dim=-1)
    return prototypes


def ours(steps: int) -> Callable[[Tensor, int], Tensor]:
    """k-centre seeds, then ``steps`` of k-means: the way of the index, which takes 2."""
    return lambda moments, k: torch.from_numpy(
        np.stack(select_prototypes(list(moments.numpy()), k, refine_steps=steps))
    )


WAYS: dict[str, Callable[[Tensor, int], Tensor]] = {
    'means of k equal stretches': uniform,
    'facility location': facility,
    'facility location, 5 steps of k-means': lambda m, k: k_means(m, facility(m, k), 5),
    'k-centre': ours(0),
    'k-centre, 2 steps of k-means (used)': ours(2),
    'k-centre, 5 steps of k-means': ours(5),
}


def best_scores(queries: Tensor, vectors: Tensor) -> Tensor:
    """Best inner product of each query with each video's ``vectors (V, n, S)``: ``(Q, V)``."""
    parts = [torch.einsum('qs,vns->qvn', queries, part).amax(-1) for part in vectors.split(BLOCK)]
    return torch.cat(parts, 1)


def compare_numbers(args: argparse.Namespace) -> None:
    """Print what level 1 finds of trained vectors by several numbers of prototypes."""
    corpus = EnlargedCorpus(args.videos, 0, args.vectors, args.query_vectors, 0.25)
    queries = torch.from_numpy(corpus.truth(args.queries).vectors)
    scores: dict[int | None, list[Tensor]] = {k: [] for k in (None, *args.num_prototypes)}
    for entries in tqdm(corpus.blocks(), leave=False):
        moments = [entry.moments for entry in entries]
        for k in scores:
            rows = moments if k is None else select_prototypes(moments, k)
            counts = torch.tensor([len(r) for r in rows])
            products = torch.from_numpy(np.concatenate(rows)) @ queries.T
            scores[k].append(torch.segment_reduce(products, 'max', lengths=counts))
    best = torch.cat(scores.pop(None)).topk(200, dim=0).indices  # (200, Q)
    print('| prototypes a video | among the best 200 | 800 | 3,200 |\n| --- | --- | --- | --- |')
    for k, parts in scores.items():
        rank = torch.cat(parts).argsort(dim=0, descending=True).argsort(dim=0).gather(0, best)
        cells = [f'{float((rank < depth).float().mean()):.3f}' for depth in (200, 800, 3200)]
        print(f'| {k} | ' + ' | '.join(cells) + ' |')


def compare_ways(args: argparse.Namespace) -> None:
    """Print what level 1 finds of synthetic videos by each way to choose prototypes."""
    corpus = SyntheticCorpus(args.videos, 0, 128, clips=24, scales=SCALES)
    blocks = [corpus.arrays(i) for i in range(args.videos // BLOCK)]
    moments = torch.from_numpy(np.concatenate([b[0] for b in blocks]))
    short = np.concatenate([b[2] for b in blocks])
    rng = np.random.default_rng(1)
    videos = rng.integers(0, len(moments), args.queries)
    any_scale = rng.integers(0, moments.shape[1], args.queries)
    blur = 2 * unit(rng.standard_normal((args.queries, 128)))
    kinds = {}
    for name, which in (('any moment', any_scale), ('the short event', short[videos])):
        queries = torch.from_numpy(unit(moments[videos, which].numpy() + blur))
        exact = best_scores(queries, moments)
        own = exact[torch.arange(len(videos)), torch.from_numpy(videos)]
        reachable = (exact > own[:, None]).sum(1) < 200
        kinds[name] = (queries, reachable, exact.topk(10, dim=1).indices)
    print('| k | prototypes | any: right video | any: best 10 | short: right video | best 10 |')
    print('| --- | --- | --- | --- | --- | --- |')
    for k in args.num_prototypes:
        for name, choose in WAYS.items():
            chosen = torch.cat([choose(part, k) for part in moments.split(BLOCK)])
            cells = []
            for queries, reachable, best in kinds.values():
                scores = best_scores(queries, chosen)
                kept = torch.zeros_like(scores, dtype=torch.bool)
                kept.scatter_(1, scores.topk(200, dim=1).indices, True)
                right = kept[torch.arange(len(videos)), torch.from_numpy(videos)]
                cells += [right[reachable].float().mean(), kept.gather(1, best).float().mean()]
            print(f'| {k} | {name} | ' + ' | '.join(f'{c:.3f}' for c in cells) + ' |', flush=True)
