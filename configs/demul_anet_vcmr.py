# Every query of ActivityNet Captions (val_2) against the corpus of all its videos: VR, SVMR and VCMR.
# The model is that of demul_anet.py.
_base_ = ['./demul_anet.py']

test_cfg = dict(type='CorpusTestLoop', num_videos=200, num_fused=20, num_moments=100)
test_evaluator = [
    dict(type='CorpusMomentMetric', topk=(1, 5, 10, 100), ious=(0.5, 0.7)),
    dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge'),
]
