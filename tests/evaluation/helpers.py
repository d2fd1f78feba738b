"""Small data samples for the metrics' tests."""

from pathlib import Path

import pytest
import torch
from mmengine.structures import InstanceData

from demul_mm.structures import MomentDataSample

SHARED = Path(__file__).resolve().parents[2].parent / 'shared'


def shared_file(relative: str) -> Path:
    """A file of the folder beside the repository, or skip the test."""
    path = SHARED / relative
    if not path.is_file():
        pytest.skip(f'{path} is not here: published data are not part of the repository')
    return path


def moments(rows: list[list[float]]) -> InstanceData:
    """``[[start, end, score], ...]`` as predicted moments."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 3)
    return InstanceData(spans=table[:, :2], scores=table[:, 2])


def make_sample(
    index: int,
    gt: list[list[list[float]]],
    pred: list[list[list[float]]],
    duration: float = 30.0,
    corpus: list[list[list]] | None = None,
) -> dict:
    """What a metric receives for one video; ids follow from the index."""
    video_id = f'v{index}'
    ids = [f'{video_id}#{q}' for q in range(len(gt))]
    sample = MomentDataSample(
        metainfo=dict(video_id=video_id, duration=duration, sample_idx=index, query_ids=ids)
    )
    sample.queries = [f'sentence {i}' for i in ids]
    sample.gt_spans = [torch.tensor(g).reshape(-1, 2) for g in gt]
    sample.pred_moments = [moments(p) for p in pred]
    if corpus is not None:
        sample.set_field(corpus, 'pred_corpus', dtype=list)
    return sample.to_dict()
