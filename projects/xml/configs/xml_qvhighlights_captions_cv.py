# XML on QVHighlights by captions, in five folds by video: in the own video, and in the corpus of the
# videos of all folds.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.xml'])
model = dict(
    type='XML',
    language=dict(type='WordProjection', lm={{_base_.lm}}, dim=256, dropout=0.3),
    dim=256,
    dropout=0.3,
    max_clips=75)
test_dataloader = dict(dataset=dict(folds=dict(part='corpus')))
test_cfg = dict(type='ExhaustiveTestLoop', num_videos=100, num_moments=100)
test_evaluator = [
    dict(type='QVHighlightsMetric'),
    dict(type='CorpusMomentMetric', topk=(1, 5, 10, 100), ious=(0.5, 0.7)),
]
