# DeMUL on TVR with two streams: ResNet-152 and I3D features, and what is said
# (tools/data/encode_subtitles.py). Each query weighs the two; a video may lack subtitles.
_base_ = ['./demul_tvr.py']

features = dict(subtitle=dict(type='PackedStore', path='features/subtitles', dim=384))
streams = ('visual', 'subtitle')

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='LoadVideoFeature', stream='subtitle', optional=True),
    dict(type='TemporalCrop', prob=0.5, min_keep=0.5),
    dict(type='SpeedChange', prob=0.5, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='ResampleClips', num_clips={{_base_.num_clips}}, streams=streams),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='LoadVideoFeature', stream='subtitle', optional=True),
    dict(type='ResampleClips', num_clips={{_base_.num_clips}}, streams=streams),
    dict(type='PackMomentInputs')]

train_dataloader = dict(dataset=dict(features=features, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(features=features, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(features=features, pipeline=test_pipeline))
model = dict(
    streams=dict(subtitle=dict(type='TemporalTower', in_dim=384, dim=256, depth=2, num_heads=8)))
