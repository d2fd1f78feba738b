# The rendered corpus (tools/data/rendered/make_corpus.py) with features extracted beforehand.
_base_ = ['./common.py']

data_root = 'data/rendered/'
num_clips = 64

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='SampleQueries', max_queries=6),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='PackMomentInputs')]

train_dataloader = dict(
    dataset=dict(
        type='JsonlMomentDataset',
        data_root=data_root,
        name='rendered',
        data_prefix=dict(video=''),
        ann_file='train.jsonl',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='JsonlMomentDataset',
        data_root=data_root,
        name='rendered',
        data_prefix=dict(video=''),
        ann_file='val.jsonl',
        split='val',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type='JsonlMomentDataset',
        data_root=data_root,
        name='rendered',
        data_prefix=dict(video=''),
        ann_file='test.jsonl',
        split='test',
        pipeline=test_pipeline))
