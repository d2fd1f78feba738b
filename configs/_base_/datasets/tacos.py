# TACoS in the form of 2D-TAN. For the original (TALL) form, ann_file='annotations/original/
# tacos_train_0_74.txt' and info_file='annotations/train.json', same for val and test; the two
# count differently. A leaf adds the features (see activitynet.py).
data_root = 'data/tacos/'
num_clips = 256

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='SampleQueries', max_queries=16),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=num_clips),
    dict(type='PackMomentInputs')]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        split='val',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='TACoSDataset',
        data_root=data_root,
        ann_file='annotations/test.json',
        split='test',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='MomentRecall', topk=(1, 5), ious=(0.1, 0.3, 0.5, 0.7), iou_op='ge')
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
