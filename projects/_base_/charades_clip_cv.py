# Another method in DeMUL's place: the same videos, features, sentences, folds, augmentation and
# metric, and the same number of epochs. A method's own config adds its model and learning rate.
_base_ = '../../configs/demul_charades_clip_cv.py'

tokenizer = dict(type='TransformersTokenizer', name='minilm')
lm = dict(type='TransformersLM', name='minilm', tune='none', layers=(0, -1))
model = dict(
    _delete_=True,
    data_preprocessor=dict(type='MomentDataPreprocessor', tokenizer=tokenizer, pad_divisor=1),
    streams=dict(visual=dict(in_dim={{_base_.feature_dim}})),
    test_cfg=dict(nms=dict(type='MomentNMS', iou_thr=0.5, max_keep=5)),
)

# The averaged weights are validated and saved, as of DeMUL.
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='SentenceLengthHook'),
    dict(type='ReadAheadHook'),
]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2))
test_cfg = dict(_delete_=True, type='TestLoop')
test_evaluator = [{{_base_.val_evaluator}}]
