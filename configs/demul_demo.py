# DeMUL on the rendered corpus, small enough for `make demo`: features of a ClipCNN that the demo
# trains first, batches of 8 videos.
_base_ = [
    './_base_/datasets/rendered.py',
    './_base_/features/clip_cnn.py',
    './_base_/models/demul_short.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(features={{_base_.features}}))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(features={{_base_.features}}))
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(features={{_base_.features}}))
# So short a training cannot overfit: no dropout.
model = dict(
    streams=dict(visual=dict(in_dim={{_base_.feature_dim}}, dropout=0.0)),
    # The last layer but one: a sixth less to read, and these sentences need no more.
    language=dict(lm=dict(layers=(0, 5)), dropout=0.0),
    data_preprocessor=dict(pad_divisor=16),
    pyramid=dict(num_levels=3, dropout=0.0),  # most moments of these films are short
    decoupler=dict(dropout=0.0),
    neck=dict(survivors=48),
    head=dict(dropout=0.0))
train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-2, shared=True), clip_grad=dict(max_norm=5.0))
default_hooks = dict(checkpoint=dict(save_best='R@1,IoU=0.5'), logger=dict(interval=10))
