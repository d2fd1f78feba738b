"""Probes of the decoupler: the modality in the shared part, the use of the private part."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from demul_mm.analysis.encoding import entries_of, localize_own
from demul_mm.engine.encoding import EncodedBatch, best_cells, encode_batches
from demul_mm.evaluation.predictions import PredictionEntry
from demul_mm.evaluation.reliability import roc_auc
from demul_mm.models.localizers import DeMUL

# Private vectors kept of each video: enough to know their mean and to draw from.
CELLS_A_VIDEO = 64
LANGUAGE = 'language'


class ProbeVectors(NamedTuple):
    """Both parts of ``N`` pairs of a true moment and its query, and where private ones come from.

    A moment's vector is that of the pyramid cell that fits it best.
    """

    video_ids: np.ndarray  # (N,) the video of each pair
    moment_shared: np.ndarray  # (N, S)
    query_shared: np.ndarray  # (N, S)
    moment_private: np.ndarray  # (N, P)
    query_private: np.ndarray  # (N, P)
    pools: dict[str, Tensor]  # modality to private vectors (n, P) of cells, or of queries


class Outcome(NamedTuple):
    """Answers of the whole model, and of the shared parts alone."""

    vectors: ProbeVectors
    whole: list[PredictionEntry]
    shared_alone: list[PredictionEntry]


def collect(model: DeMUL, batches: Iterable[dict], seed: int = 0) -> Outcome:
    """Encode a split, and localise each query in its own video.

    Args:
        batches: all that the split's data loader gives.
    """
    rng = torch.Generator().manual_seed(seed)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ProbeVectors._fields[:-1]}
    pools: dict[str, list[Tensor]] = {}
    whole: list[PredictionEntry] = []
    index: list[PredictionEntry] = []
    for batch in encode_batches(model, batches):
        whole += entries_of(batch, localize_own(model, batch))
        index += entries_of(batch, _index_answers(batch))
        for name, values in _pairs(model, batch).items():
            rows[name].append(values)
        for modality, vectors in _private(model, batch, rng).items():
            pools.setdefault(modality, []).append(vectors)
    if not whole:
        raise ValueError('the split has no query: take one with annotations')
    stacked = {name: np.concatenate(parts) for name, parts in rows.items()}
    joined = {name: torch.cat(parts) for name, parts in pools.items()}
    return Outcome(ProbeVectors(**stacked, pools=joined), whole, index)


def _pairs(model: DeMUL, batch: EncodedBatch) -> dict[str, np.ndarray]:
    query, cell = best_cells(model, batch)
    video = batch.owner[query]
    videos, queries = batch.videos, batch.queries
    weight = videos.stream_mask[video][..., None].float()  # (n, N, 1)
    private = videos.private[video, :, cell].float()  # (n, N, P)
    mean = (private * weight).sum(1) / weight.sum(1).clamp(min=1)
    names = [str(batch.samples[v].video_id) for v in video.tolist()]
    tensors = dict(
        moment_shared=videos.shared[video, cell],
        query_shared=queries.shared[query],
        moment_private=mean,
        query_private=queries.private[query],
    )
    arrays = {name: value.float().cpu().numpy() for name, value in tensors.items()}
    return dict(video_ids=np.array(names), **arrays)


def _private(model: DeMUL, batch: EncodedBatch, rng: torch.Generator) -> dict[str, Tensor]:
    pools = {LANGUAGE: batch.queries.private.cpu()}
    for n, name in enumerate(model.decoupler.streams):
        chosen = []
        for v in range(len(batch.videos.mask)):
            if not batch.videos.stream_mask[v, n]:
                continue
            rows = batch.videos.private[v, n][batch.videos.mask[v]].cpu()
            chosen.append(rows[torch.randperm(len(rows), generator=rng)[:CELLS_A_VIDEO]])
        if chosen:
            pools[name] = torch.cat(chosen)
    return pools


def _index_answers(batch: EncodedBatch, number: int = 5) -> list[InstanceData]:
    """What shared parts alone answer: the cells most like the query, with query-free spans."""
    answers = []
    samples = [sample for sample in batch.samples for _ in sample.queries]
    for q, (v, sample) in enumerate(zip(batch.owner.tolist(), samples)):
        score = batch.videos.shared[v] @ batch.queries.shared[q]
        score = score.masked_fill(~batch.videos.mask[v], -2)
        best, cell = score.topk(min(number, int(batch.videos.mask[v].sum())))
        extent = sample.metainfo.get('extent', sample.duration)
        spans = (batch.videos.spans[v][cell] * extent).clamp(max=sample.duration)
        answers.append(InstanceData(spans=spans.cpu(), scores=best.cpu()))
    return answers


def modality_probe(
    moments: np.ndarray, queries: np.ndarray, groups: np.ndarray, folds: int = 5
) -> dict[str, float]:
    """How well a linear classifier tells moments from queries.

    Logistic regression on standardised values, cross-validated so that a video's moments and
    queries are never both in training and in test. What it sees is a difference of the means: it
    finds even a small one in many dimensions, so ``gap`` says how large it is.

    Args:
        moments: ``(N, d)``.
        queries: ``(N, d)``.
        groups: ``(N,)`` video of each.
        folds: at most; fewer where there are fewer videos.

    Returns:
        ``accuracy`` in percent (50: it cannot tell), ``auc``, and ``gap``: the distance of the two
        means over the mean distance of a vector from the mean of its own kind.
    """
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        hint = "the probe needs scikit-learn: pip install 'demul-mm[analysis]'"
        raise ImportError(hint) from error
    number = min(folds, len(set(groups.tolist())))
    if number < 2:
        raise ValueError('all pairs are of one video; the probe takes two videos or more')
    x = np.concatenate([moments, queries])
    y = np.repeat([0, 1], [len(moments), len(queries)])
    chance = np.zeros(len(x))
    for train, test in GroupKFold(number).split(x, y, np.concatenate([groups, groups])):
        chance[test] = _linear_chance(x[train], y[train], x[test])
    centers = moments.mean(0), queries.mean(0)
    spread = [np.linalg.norm(a - c, axis=1).mean() for a, c in zip((moments, queries), centers)]
    gap = float(np.linalg.norm(centers[0] - centers[1]) / max(float(np.mean(spread)), 1e-12))
    return dict(
        accuracy=100 * float(((chance > 0.5) == y).mean()),
        auc=roc_auc(chance[y == 1], chance[y == 0]),
        gap=gap,
    )


def _linear_chance(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The probability of kind 1 of each ``wanted (n, d)``, learned from ``x (N, d)``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(x, y).predict_proba(wanted)[:, 1]


def shared_retrieval(
    model: DeMUL,
    batches: Iterable[dict],
    queries: np.ndarray,
    video_ids: Sequence[str],
    topk: Sequence[int] = (1, 5, 10, 100),
) -> dict[str, float]:
    """Finding the video of a query among all of the split, by shared parts alone.

    A video counts with its cell that is most like the query, as in the index; of alike ones the
    first in the split comes first, and one that is there again counts once.

    Args:
        batches: all that the split's data loader gives.
        queries: ``(N, S)`` shared parts.
        video_ids: the right video of each.

    Returns:
        ``R@k`` in percent for each k, and ``videos``, among how many.
    """
    text = torch.from_numpy(queries)
    columns: dict[str, Tensor] = {}
    for batch in encode_batches(model, batches):
        for row, mask, sample in zip(batch.videos.shared, batch.videos.mask, batch.samples):
            columns[str(sample.video_id)] = (text @ row[mask].float().cpu().T).amax(1)
    scores = torch.stack([*columns.values()], 1)  # (N, V)
    place = {name: i for i, name in enumerate(columns)}
    right = torch.tensor([place[name] for name in video_ids])[:, None]
    own = scores.gather(1, right)
    earlier = torch.arange(len(columns)) < right
    rank = ((scores > own) | (earlier & (scores == own))).sum(1)  # videos before the right one
    found = {f'R@{k}': 100 * float((rank < k).double().mean()) for k in topk}
    return {**found, 'videos': len(columns)}


@contextmanager
def replaced_private(
    model: DeMUL, pools: Mapping[str, Tensor], how: str, seed: int = 0
) -> Iterator[None]:
    """While it lasts, private parts say nothing about the video or query they belong to.

    Args:
        pools: vectors of each modality, from :func:`collect`.
        how: 'mean': all are the mean of their modality; 'drawn': each is one of another cell, or
            query, drawn by chance, so that the model sees values as it knows them.

    Raises:
        ValueError: ``how`` is none of these, or the model has no private part.
    """
    if not model.decoupler.private_dim:
        raise ValueError('decoupler.private_dim is 0: the model has no private part to replace')
    if how not in ('mean', 'drawn'):
        raise ValueError(f"how is {how!r}; allowed: 'mean', 'drawn'")
    rng = torch.Generator().manual_seed(seed)

    def hook_of(pool: Tensor) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: tuple, out: Tensor) -> Tensor:
            if how == 'mean':
                rows = pool.mean(0).expand_as(out)
            else:
                number = out[..., 0].numel()
                rows = pool[torch.randint(len(pool), (number,), generator=rng)].view_as(out)
            return rows.to(out)

        return hook

    parts = {**dict(model.decoupler.streams.items()), LANGUAGE: model.decoupler.language}
    handles = [
        part.private.register_forward_hook(hook_of(pools[name]))
        for name, part in parts.items()
        if name in pools
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_private(
    model: DeMUL, batches: Iterable[dict], pools: Mapping[str, Tensor], how: str, seed: int = 0
) -> list[PredictionEntry]:
    """Localise each query in its own video with the private parts replaced.

    Args:
        batches: all that the split's data loader gives.
        pools, how, seed: see :func:`replaced_private`.
    """
    entries: list[PredictionEntry] = []
    with replaced_private(model, pools, how, seed):
        for batch in encode_batches(model, batches):
            entries += entries_of(batch, localize_own(model, batch))
    return entries
