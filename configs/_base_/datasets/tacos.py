# TACoS in the form of 2D-TAN. For the original (TALL) form, ann_file='annotations/original/
# tacos_train_0_74.txt' and info_file='annotations/train.json', same for val and test; the two
# count differently.
_base_ = ['./common.py']

data_root = 'data/tacos/'
num_clips = 256

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='TemporalCrop', prob=0.5, min_keep=0.5),
    dict(type='SpeedChange', prob=0.5, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='SampleQueries', max_queries=16),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='PackMomentInputs')]

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        split='val',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/test.json',
        split='test',
        pipeline=test_pipeline))

val_evaluator = dict(ious=(0.1, 0.3, 0.5, 0.7))
test_evaluator = val_evaluator
