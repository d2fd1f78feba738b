# Charades-STA: trained on train but for a tenth of its videos, which choose the checkpoint and
# calibrate; tested on test.
_base_ = ['./common.py']

data_root = 'data/charades/'
num_clips = 64

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

train_dataloader = dict(
    dataset=dict(
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_train.txt',
        info_file='annotations/Charades_v1_train.csv',
        subset='fit',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_train.txt',
        info_file='annotations/Charades_v1_train.csv',
        subset='holdout',
        split='train',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_test.txt',
        info_file='annotations/Charades_v1_test.csv',
        split='test',
        pipeline=test_pipeline))
