# DeMUL on the rendered corpus end to end from pixels, one clip of four frames a second, with a
# 3-D CNN of MMAction2 as its eye.
_base_ = [
    './_base_/datasets/rendered.py',
    './_base_/models/demul.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
train_pipeline = [
    dict(type='LoadVideoClips', clip_seconds=1.0, frames_per_clip=4, size=64),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoClips', clip_seconds=1.0, frames_per_clip=4, size=64),
    dict(type='PackMomentInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
model = dict(
    frame_encoder=dict(
        type='FrameEncoder',
        # A thin one that keeps the time axis: a clip is four frames of 64 x 64.
        backbone=dict(
            type='mmaction.ResNet3dSlowOnly',
            depth=18,
            base_channels=16,
            pretrained=None,
            conv1_stride_t=1,
            pool1_stride_t=1,
            norm_eval=False)),
    streams=dict(visual=dict(in_dim=128)))
optim_wrapper = dict(optimizer=dict(lr=8e-3))
