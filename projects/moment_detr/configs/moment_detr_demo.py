# Moment-DETR on the rendered films of `make demo`, by the features of its backbone.
_base_ = '../../../configs/demul_demo.py'
custom_imports = dict(imports=['projects.moment_detr'])
model = dict(
    _delete_=True,
    type='MomentDETR',
    data_preprocessor=dict(
        type='MomentDataPreprocessor',
        tokenizer={{_base_.model.data_preprocessor.tokenizer}},
        pad_divisor=1),
    streams=dict(visual=dict(in_dim={{_base_.feature_dim}})),
    language=dict(type='WordProjection', lm={{_base_.model.language.lm}}, dim=256, dropout=0.1),
    dim=256,
    input_dropout=0.1,
    test_cfg=dict(nms=dict(type='MomentNMS', iou_thr=1.0, max_keep=5)))
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='SentenceLengthHook'),
    dict(type='ReadAheadHook'),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1))
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=25, val_begin=5, val_interval=5)
