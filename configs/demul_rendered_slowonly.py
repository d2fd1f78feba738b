# DeMUL on the rendered corpus end to end from pixels, with a 3-D CNN of MMAction2 as its eye.
_base_ = [
    './_base_/datasets/rendered_frames.py',
    './_base_/models/demul.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
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
