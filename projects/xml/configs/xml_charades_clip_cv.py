# XML on Charades-STA by CLIP features, in five folds by video: in the own video, and in the corpus of
# all videos of the fold.
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.xml'])
model = dict(
    type='XML',
    language=dict(type='WordProjection', lm={{_base_.lm}}, dim=256, dropout=0.3),
    dim=256,
    dropout=0.3,
    max_clips=32)  # of 64: 99 % of the moments; without a bound the likeliest borders are the video's
test_cfg = dict(type='ExhaustiveTestLoop', num_videos=100, num_moments=100)
test_evaluator = [
    {{_base_.val_evaluator}},
    dict(type='CorpusMomentMetric', topk=(1, 10, 100), ious=(0.5, 0.7)),
]
