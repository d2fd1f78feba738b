# Augmentations of time and words, and moments of other videos.
_base_ = ['../../demul_demo.py']
train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='SpliceMoment', prob=0.3, mode='replace'),
    dict(type='TemporalCrop', prob=0.3, min_keep=0.5),
    dict(type='SpeedChange', prob=0.3, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='WordDrop', prob=0.3, rate=0.2, keep=3),
    dict(type='ResampleClips', num_clips={{_base_.num_clips}}),
    dict(type='SampleQueries', max_queries=6),
    dict(type='PackMomentInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
