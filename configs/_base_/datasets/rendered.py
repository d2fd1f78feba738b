# The rendered corpus (tools/data/rendered/make_corpus.py) with features extracted beforehand. A leaf
# adds the features (see activitynet.py).
data_root = 'data/rendered/'

train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=128),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ResampleClips', num_clips=128),
    dict(type='PackMomentInputs')]

train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JsonlMomentDataset',
        name='rendered',
        data_root=data_root,
        data_prefix=dict(video=''),
        ann_file='train.jsonl',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JsonlMomentDataset',
        name='rendered',
        data_root=data_root,
        data_prefix=dict(video=''),
        ann_file='val.jsonl',
        split='val',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    val_dataloader,
    dataset=dict(val_dataloader['dataset'], ann_file='test.jsonl', split='test'))

val_evaluator = dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge')
test_evaluator = val_evaluator

# Three time scales, for tools/test.py --tta.
tta_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='ResampleClips', num_clips=128),
             dict(type='ResampleClips', num_clips=128, scale=0.75),
             dict(type='ResampleClips', num_clips=128, scale=1.5)],
            [dict(type='PackMomentInputs')]])]
