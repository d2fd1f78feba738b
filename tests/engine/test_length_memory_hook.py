"""The hook fills the memory of lengths with training queries and weighs it on others."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from demul_mm.engine.hooks import LengthMemoryHook, held_out
from demul_mm.models.localizers import DeMUL
from demul_mm.structures import span_iou
from tests.models.tiny import SENTENCES, predictions_of, tiny_data, tiny_model


class Annotations:
    """A training split of three queries, one without and one with two moments."""

    def __len__(self) -> int:
        return 1

    def get_data_info(self, index: int) -> dict:
        spans = [[[0.0, 3.0]], [], [[1.0, 2.0], [5.0, 9.0]]]
        ids = ['a', 'b', 'c']
        return dict(
            video_id='v', duration=10.0, queries=SENTENCES[:3], query_ids=ids, gt_spans=spans
        )


def runner_of(model: DeMUL, data: dict) -> SimpleNamespace:
    return SimpleNamespace(
        model=model,
        hooks=[],
        train_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=Annotations())),
        val_loop=SimpleNamespace(dataloader=[data]),
        logger=SimpleNamespace(info=lambda line: None),
    )


def test_training_moments_are_remembered_and_held_out_ones_weigh_them() -> None:
    model = tiny_model(length_memory=dict(type='LengthMemory'))
    data = tiny_data()
    LengthMemoryHook(iou_thr=0.1).before_val_epoch(runner_of(model, data))
    memory = model.length_memory
    assert int(memory.count) == 3
    torch.testing.assert_close(memory.lengths[:3].exp(), torch.tensor([3.0, 1.0, 4.0]))
    meaning = model.encode_query([SENTENCES[0], SENTENCES[2]]).meaning
    torch.testing.assert_close(memory.captions[:3], meaning[[0, 1, 1]])
    assert 0.01 <= float(memory.weight) <= 10


def test_the_rows_are_all_candidates_of_the_own_video() -> None:
    model = tiny_model(length_memory=dict(type='LengthMemory'))
    model.length_memory.fill(model.encode_query(SENTENCES[:2]).meaning, torch.tensor([2.0, 5.0]))
    data = tiny_data()
    rows = LengthMemoryHook(iou_thr=0.3).rows(model, [data])
    assert len(rows) == 5
    assert len(LengthMemoryHook(max_queries=4).rows(model, [data, data, data])) == 5
    everything = dict(type='MomentNMS', iou_thr=1.0, max_keep=1000)
    plain = tiny_model(test_cfg=dict(nms=everything))  # without the memory, the same weights
    found = [m for sample in predictions_of(plain, data) for m in sample.pred_moments]
    truth = [spans for sample in data['data_samples'] for spans in sample.gt_spans]
    for (score, told, hit), moments, spans in zip(rows.values(), found, truth, strict=True):
        torch.testing.assert_close(
            score.sort(descending=True).values.float(), moments.joint, rtol=1e-4, atol=1e-4
        )
        assert told.isfinite().all()
        iou = span_iou(moments.spans[:, None], spans[None]).amax(1)
        assert int(hit.sum()) == int((iou >= 0.3).sum())


def test_processes_share_the_queries_that_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny_model(), tiny_data()
    for ranks, batches in ((1, 2), (2, 1)):
        monkeypatch.setattr(held_out, 'get_world_size', lambda ranks=ranks: ranks)
        assert len(list(held_out.own_candidates(model, [data] * 4, 10))) == batches


def test_a_length_that_is_likely_is_preferred() -> None:
    everything = dict(type='MomentNMS', iou_thr=1.0, max_keep=1000)
    model = tiny_model(length_memory=dict(type='LengthMemory'), test_cfg=dict(nms=everything))
    data = tiny_data((16,), (1,))
    meaning = model.encode_query(data['data_samples'][0].queries).meaning

    def lengths() -> Tensor:
        spans = predictions_of(model, data)[0].pred_moments[0].spans
        return spans[:, 1] - spans[:, 0]

    before = lengths()
    for wanted in (before.min(), before.max()):
        model.length_memory.fill(meaning, wanted[None])
        model.length_memory.weight.fill_(1e4)
        assert float(lengths()[0]) == pytest.approx(float(wanted), rel=0.05)


def test_of_more_than_it_holds_it_keeps_an_even_choice() -> None:
    model = tiny_model(length_memory=dict(type='LengthMemory', size=2))
    captions, seconds = LengthMemoryHook().known(model, Annotations())
    assert seconds.tolist() == [3.0, 4.0]
    torch.testing.assert_close(captions, model.encode_query([SENTENCES[0], SENTENCES[2]]).meaning)


def test_nothing_is_done_without_a_memory() -> None:
    model = tiny_model()
    LengthMemoryHook().before_val_epoch(runner_of(model, tiny_data()))
    assert model.length_memory is None
