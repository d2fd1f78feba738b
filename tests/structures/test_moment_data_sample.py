"""The data sample: its fields, and the plain dict that metrics receive."""

import pytest
import torch
from mmengine.structures import InstanceData

from demul_mm.structures import MomentDataSample


def _sample() -> MomentDataSample:
    sample = MomentDataSample(
        metainfo=dict(video_id='v', duration=30.0, sample_idx=3, query_ids=['v#0', 'v#1'])
    )
    sample.queries = ('a dog barks', 'a cat sleeps')
    sample.gt_spans = [[[1.0, 4.0], [2.0, 5.0]], []]
    moments = InstanceData(spans=torch.tensor([[1.0, 3.0]]), scores=torch.tensor([0.5]))
    sample.pred_moments = [moments, InstanceData(spans=torch.zeros(0, 2), scores=torch.zeros(0))]
    return sample


def test_truth_is_kept_as_float32_spans_of_each_query():
    spans = _sample().gt_spans
    assert [tuple(s.shape) for s in spans] == [(2, 2), (0, 2)]
    assert all(s.dtype == torch.float32 for s in spans)


def test_to_dict_has_what_the_metrics_read():
    sample = _sample().to_dict()
    assert set(sample) == {
        'video_id', 'duration', 'sample_idx', 'query_ids', 'queries', 'gt_spans', 'pred_moments',
    }  # fmt: skip
    assert sample['queries'] == ['a dog barks', 'a cat sleeps']
    assert sample['pred_moments'][0].spans.tolist() == [[1.0, 3.0]]


def test_fields_can_be_deleted_and_moved():
    sample = _sample().to('cpu')
    del sample.pred_moments
    assert 'pred_moments' not in sample
    with pytest.raises(AttributeError):
        _ = sample.pred_moments
