# DiDeMo, scored by the votes of its annotators. A leaf adds the features (see activitynet.py).
# Without the train file, split val: ann_file='annotations/val_data.json', split='val' and
# subset='fit' in the train data set, subset='holdout' in that of val.
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
    batch_size=16,
    num_workers=2,
    sampler=dict(type='SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/train_data.json',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/val_data.json',
        split='val',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoDataset',
        data_root=data_root,
        ann_file='annotations/test_data.json',
        split='test',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='DiDeMoMetric')
test_evaluator = val_evaluator

# Three time scales, for tools/test.py --tta.
tta_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='ResampleClips', num_clips=num_clips),
             dict(type='ResampleClips', num_clips=num_clips, scale=0.75),
             dict(type='ResampleClips', num_clips=num_clips, scale=1.5)],
            [dict(type='PackMomentInputs')]])]
