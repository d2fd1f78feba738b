# DiDeMo, scored by the votes of its annotators. Without the train file, split val:
# ann_file='annotations/val_data.json', split='val' and subset='fit' in the train data set,
# subset='holdout' in that of val.
_base_ = ['./common.py']

data_root = 'data/didemo/'
num_clips = 32

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='PackMomentInputs')]

train_dataloader = dict(
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/train_data.json',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/val_data.json',
        split='val',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/test_data.json',
        split='test',
        pipeline=test_pipeline))

val_evaluator = dict(_delete_=True, type='DiDeMoMetric')
test_evaluator = val_evaluator
