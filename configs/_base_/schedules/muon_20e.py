# A scheduler without an end lasts until train_cfg.max_epochs. The warm-up multiplies the cosine.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_begin=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='MuonAdamW', lr=4e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0))

param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
]
