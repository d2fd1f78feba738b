# Charades-STA by CLIP features: five folds by video over the 1,000 test videos whose features are
# at hand. tools/cross_validate.py runs all folds, tools/train.py the first one. The checkpoint and
# the calibration are chosen on a tenth of the videos of the other four folds. Tested on each
# query's own video, and on the corpus of all videos of the fold. Training also asks for the labelled
# actions of its videos that have no sentence (ActionQueries).
_base_ = [
    './_base_/datasets/charades.py',
    './_base_/features/clip_l14.py',
    './_base_/models/demul.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
train_pipeline = [
    dict(type='LoadVideoFeature'),
    dict(type='ActionQueries', max_queries=3),
    dict(type='TemporalCrop', prob=0.5, min_keep=0.5),
    dict(type='SpeedChange', prob=0.5, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='ResampleClips', num_clips={{_base_.num_clips}}),
    dict(type='SampleQueries', max_queries=4),
    dict(type='PackMomentInputs')]
videos = dict(
    ann_file='annotations/charades_sta_cv.txt',
    info_file='annotations/Charades_v1_test.csv',
    split='test',
    features={{_base_.features}})
train_dataloader = dict(
    dataset=dict(videos, folds=dict(num=5, test=0, part='train'), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(videos, folds=dict(num=5, test=0, part='train')))
test_dataloader = dict(dataset=dict(videos, folds=dict(num=5, test=0, part='test')))
model = dict(
    streams=dict(visual=dict(in_dim={{_base_.feature_dim}})),
    # Sentences repeat: what answers a like one in another video is no negative.
    memory=dict(type='SemanticMemory', size=1024))
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
train_cfg = dict(max_epochs=12, val_begin=8, val_interval=2)

test_cfg = dict(type='CorpusTestLoop', num_videos=200, num_fused=20, num_moments=100)
test_evaluator = [
    dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge'),
    dict(type='CorpusMomentMetric', topk=(1, 10, 100), ious=(0.5, 0.7)),
]
# The report of tools/cross_validate.py says beside it what a fold trains on.
published_train_queries = 12404
