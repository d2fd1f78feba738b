# DeMUL on ActivityNet Captions with C3D features.
_base_ = [
    './_base_/datasets/activitynet.py',
    './_base_/features/c3d_anet.py',
    './_base_/models/demul_base.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(features={{_base_.features}}))
val_dataloader = dict(dataset=dict(features={{_base_.features}}))
test_dataloader = dict(dataset=dict(features={{_base_.features}}))
model = dict(streams=dict(visual=dict(in_dim={{_base_.feature_dim}})))
default_hooks = dict(checkpoint=dict(save_best='R@1,IoU=0.5'))
