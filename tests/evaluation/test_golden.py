"""Published numbers on published files; skipped where the files are not at hand."""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from demul_mm.evaluation.floors import annotation_entries, place_windows, relative_truth
from demul_mm.evaluation.metrics import DiDeMoMetric, MomentRecall, QVHighlightsMetric
from demul_mm.evaluation.metrics.didemo import CANDIDATES, segment_index
from demul_mm.evaluation.predictions import (
    entries_from_sample,
    load_predictions,
    pad_entries,
    pad_spans,
    save_predictions,
)
from demul_mm.registry import DATASETS
from tests.evaluation.helpers import shared_file


def _entry(video_id, index, duration, gt, pred=()):
    return dict(
        query_id=f'{video_id}#{index}', video_id=video_id, query='', duration=duration,
        gt=gt, pred=list(pred),
    )  # fmt: skip


def _tgn_entries():
    truth = json.loads(shared_file('golden/tgn_charades/charades_test.json').read_text())
    predicted = json.loads(
        shared_file('golden/tgn_charades/charades_predict_proposals_test_nms_0.55.json').read_text()
    )['results']
    entries = []
    for video_id, video in truth.items():
        for i, span in enumerate(video['timestamps']):
            rows = [[*p['timestamp'], p['score']] for p in predicted[f'{video_id}-{i}']]
            entries.append(_entry(video_id, i, 30.0, [span], rows))
    return entries


def test_tgn_on_charades_scores_as_published(tmp_path):
    entries = _tgn_entries()
    assert len(entries) == 3720
    save_predictions(tmp_path / 'tgn.json', entries, {})
    entries = load_predictions(tmp_path / 'tgn.json')[1]
    strict = MomentRecall(iou_op='gt', floors=False).compute_entries(entries)
    assert {key: round(value, 2) for key, value in strict.items()} == {
        'R@1,IoU=0.3': 50.51, 'R@1,IoU=0.5': 34.38, 'R@1,IoU=0.7': 16.26,
        'R@5,IoU=0.3': 81.48, 'R@5,IoU=0.5': 70.35, 'R@5,IoU=0.7': 49.57,
        'mIoU': 33.46,
    }  # fmt: skip
    lenient = MomentRecall(topk=(1,), iou_op='ge', floors=False).compute_entries(entries)
    assert {key: round(value, 2) for key, value in lenient.items()} == {
        'R@1,IoU=0.3': 50.54, 'R@1,IoU=0.5': 34.65, 'R@1,IoU=0.7': 16.40, 'mIoU': 33.46,
    }  # fmt: skip


def _qd_detr_entries():
    lines = shared_file('golden/qd_detr_qvhighlights/best_hl_val_preds.jsonl').read_text()
    rows = {str(row['qid']): row for row in map(json.loads, lines.splitlines())}
    file = shared_file('annotations/qvhighlights/highlight_val_release.jsonl')
    config = dict(type='QVHighlightsDataset', ann_file=str(file), split='val', test_mode=True)
    for item in DATASETS.build(config):
        predicted = [rows[query_id] for query_id in item['query_ids']]
        tables = [np.array(row['pred_relevant_windows']) for row in predicted]
        moments = [InstanceData(spans=table[:, :2], scores=table[:, 2]) for table in tables]
        saliency = [row['pred_saliency_scores'] for row in predicted]
        yield from entries_from_sample({**item, 'pred_moments': moments, 'pred_saliency': saliency})


def test_qd_detr_on_qvhighlights_scores_as_published(tmp_path):
    entries = list(_qd_detr_entries())
    assert len(entries) == 1550
    save_predictions(tmp_path / 'qd_detr.json', entries, {})
    entries = load_predictions(tmp_path / 'qd_detr.json')[1]
    found = QVHighlightsMetric(floors=False).compute_entries(entries)
    assert {key: round(value, 2) for key, value in found.items()} == {
        'R1@0.5': 62.90, 'R1@0.7': 46.77, 'mAP@0.5': 62.66, 'mAP@0.75': 41.51, 'mAP': 41.24,
        'mAP/long': 47.80, 'mAP/middle': 43.54, 'mAP/short': 8.34,
        'HL-mAP/Fair': 74.93, 'HL-mAP/Good': 64.03, 'HL-mAP/VeryGood': 39.49,
        'HIT@1/Fair': 76.65, 'HIT@1/Good': 74.77, 'HIT@1/VeryGood': 64.13,
    }  # fmt: skip


def _annotated(kind, file, split, info_file=None):
    """Entries of an official file, read and cleaned by its data set."""
    config = dict(type=kind, ann_file=str(shared_file(f'annotations/{file}')), split=split)
    if info_file:
        config['info_file'] = str(shared_file(f'annotations/{info_file}'))
    return annotation_entries(DATASETS.build(dict(config, test_mode=True)))


def _didemo(split):
    return _annotated('DiDeMoDataset', f'didemo/{split}_data.json', split)


def test_didemo_upper_bound():
    entries = _didemo('test')
    assert len(entries) == 4021
    result = DiDeMoMetric().compute_entries(entries)
    bound = {key: round(value, 2) for key, value in result.items() if key.startswith('oracle/')}
    assert bound == {'oracle/Rank@1': 74.76, 'oracle/Rank@5': 100.0, 'oracle/mIoU': 96.05}


PRIOR = [
    (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (0, 1), (4, 5), (1, 2), (3, 4), (2, 3),
    (3, 5), (2, 4), (0, 2), (2, 5), (1, 5), (1, 3), (1, 4), (0, 3), (0, 4), (0, 5),
]  # fmt: skip


def test_didemo_fixed_order():
    spans, mask = pad_spans([entry['gt'] for entry in _didemo('val')])
    segments = segment_index(spans)
    order = torch.tensor([CANDIDATES.index(c) for c in PRIOR]).expand(len(segments), -1)
    result = DiDeMoMetric.calculate(order, segments, mask)
    assert round(result['Rank@1'], 5) == 18.68421
    assert round(result['Rank@5'], 5) == 69.95215
    # The official script prints 25.2215577; 25.22158 is handed down for it.
    assert result['mIoU'] == pytest.approx(25.22158, abs=3e-5)
    assert round(result['mIoU'], 6) == 25.221558


def _activitynet():
    return _annotated('ActivityNetCaptionsDataset', 'activitynet_captions/test.json', split='val_2')


def _charades():
    folder = 'charades_sta'
    return _annotated(
        'CharadesSTADataset',
        f'{folder}/charades_sta_test.txt',
        split='test',
        info_file=f'{folder}/Charades_v1_test.csv',
    )


def _tacos():
    return _annotated('TACoSDataset', 'tacos/test.json', split='test')


@pytest.mark.parametrize(
    ('read', 'window', 'recall', 'miou'),
    [
        (_activitynet, (0.0, 1.0), (47.99, 21.06, 12.41), 34.57),
        (_charades, (0.0, 1.0), (35.00, 0.43, 0.00), 27.13),
        (_tacos, (0.0, 1.0), (5.90, 1.55, 0.77), 8.76),
        (_activitynet, (0.3, 0.95), (48.18, 29.04, 7.31), 30.17),
        (_charades, (0.0, 0.3), (40.30, 30.65, 15.16), 28.07),
    ],
)
def test_language_blind_floors(read, window, recall, miou):
    moments = relative_truth(pad_entries(read()))
    placed = place_windows(moments, torch.tensor([window], dtype=torch.float64))
    result = MomentRecall.calculate(*placed[:4], topk=(1,), iou_op='gt', tolerance=0.0)
    found = tuple(round(result[f'R@1,IoU={m}'], 2) for m in (0.3, 0.5, 0.7))
    assert found == recall
    assert round(result['mIoU'], 2) == miou


@pytest.mark.parametrize(
    ('read', 'recall'),
    [
        (_activitynet, [47.99, 21.06, 12.41]),
        (_charades, [35.00, 0.43, 0.00]),
        (_tacos, [5.90, 1.55, 0.77]),
    ],
)
def test_the_metric_itself_reports_these_floors(read, recall):
    result = MomentRecall(iou_op='gt').compute_entries(read())
    keys = [f'floor/whole_video/R@1,IoU={m}' for m in (0.3, 0.5, 0.7)]
    assert [round(result[key], 2) for key in keys] == recall
    # [.30, .95] scores 29.04 on val_2; the search finds a better constant answer.
    if read is _activitynet:
        assert result['floor/constant_window/R@1,IoU=0.5'] > 30
