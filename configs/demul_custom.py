# A template for one's own videos and sentences: copy it to another name in this folder, and see
# docs/guides/train.md. In data_root are train.jsonl, val.jsonl and test.jsonl, and in features/ what
# tools/extract_features.py made of the videos: feature_dim values for every second. The recipe is the
# one for few sentences, that of demul_charades_clip_cv.py.
_base_ = [
    './_base_/datasets/rendered.py',
    './_base_/models/demul.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
data_root = 'data/mine/'
num_clips = 64  # to which all videos are brought; more for long ones with short moments
feature_dim = 768
dataset = dict(
    name='mine',
    data_root=data_root,
    # What --format npy makes: dict(type='FolderStore', ...).
    features=dict(visual=dict(type='PackedStore', path='features', dim=feature_dim)))
train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='TemporalCrop', prob=0.5, min_keep=0.5),
    dict(type='SpeedChange', prob=0.5, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='PackMomentInputs')]
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
model = dict(streams=dict(visual=dict(in_dim=feature_dim)))
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
train_cfg = dict(max_epochs=12, val_begin=8, val_interval=2)
