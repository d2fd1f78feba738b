# SnAG on QVHighlights by captions, in five folds by video.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.snag'])
model = dict(
    type='SnAG',
    data_preprocessor=dict(pad_divisor=32),
    language=dict(type='WordProjection', lm={{_base_.lm}}, dim=128, dropout=0.3),
    tower=dict(type='TemporalTower', dim=128, depth=2, dropout=0.5),
    pyramid=dict(type='TemporalPyramid', dim=128, num_levels=6, dropout=0.3),
    dim=128,
    test_cfg=dict(nms=dict(_delete_=True, type='SoftNMS', sigma=0.9, max_keep=10)))
