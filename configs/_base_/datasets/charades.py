# Charades-STA: trained on train but for a tenth of its videos, which choose the checkpoint and
# calibrate; tested on test. A leaf adds the features (see activitynet.py).
data_root = 'data/charades/'
num_clips = 64

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
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_train.txt',
        info_file='annotations/Charades_v1_train.csv',
        subset='fit',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_train.txt',
        info_file='annotations/Charades_v1_train.csv',
        subset='holdout',
        split='train',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='CharadesSTADataset',
        data_root=data_root,
        ann_file='annotations/charades_sta_test.txt',
        info_file='annotations/Charades_v1_test.csv',
        split='test',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge')
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
