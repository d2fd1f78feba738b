# QVHighlights: the truth of its test split is with the authors' server, so val is the last that can
# be scored here, and a tenth of train chooses the checkpoint.
_base_ = ['./common.py']

data_root = 'data/qvhighlights/'
num_clips = 75

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
        type='QVHighlightsDataset',
        data_root=data_root,
        ann_file='annotations/highlight_train_release.jsonl',
        subset='fit',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='QVHighlightsDataset',
        data_root=data_root,
        ann_file='annotations/highlight_train_release.jsonl',
        subset='holdout',
        split='train',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type='QVHighlightsDataset',
        data_root=data_root,
        ann_file='annotations/highlight_val_release.jsonl',
        split='val',
        pipeline=test_pipeline))

val_evaluator = dict(_delete_=True, type='QVHighlightsMetric')
test_evaluator = val_evaluator
