# Another method in DeMUL's place on QVHighlights by captions: see charades_clip_cv.py. A caption's
# vector, one for every two seconds, is what such a method has for a clip's features.
_base_ = '../../configs/demul_qvhighlights_captions_cv.py'

tokenizer = dict(type='TransformersTokenizer', name='minilm')
lm = dict(type='TransformersLM', name='minilm', tune='none', layers=(0, -1))
model = dict(
    _delete_=True,
    data_preprocessor=dict(type='MomentDataPreprocessor', tokenizer=tokenizer, pad_divisor=1),
    streams=dict(text=dict(in_dim=384)),
    test_cfg=dict(nms=dict(type='MomentNMS', iou_thr=0.5, max_keep=10)),
)
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='SentenceLengthHook'),
    dict(type='ReadAheadHook'),
]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2))
test_dataloader = dict(dataset=dict(folds=dict(part='test')))
test_cfg = dict(_delete_=True, type='TestLoop')
test_evaluator = [dict(type='QVHighlightsMetric')]
