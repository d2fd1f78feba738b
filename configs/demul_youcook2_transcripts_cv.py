# YouCook2 by speech: five folds by video over 235 long videos, of which what is said and when is all
# that is read (tools/data/encode_subtitles.py); their 1,832 sentences are steps of recipes.
# tools/cross_validate.py runs all folds, tools/train.py the first one. The checkpoint and the
# calibration are chosen on a tenth of the videos of the other four folds. Tested on each query's own
# video, and on the corpus of the videos of all folds.
_base_ = [
    './_base_/datasets/common.py',
    './_base_/models/demul.py',
    './_base_/schedules/muon_20e.py',
    './_base_/default_runtime.py',
]
data_root = 'data/youcook2/'
num_clips = 192

train_pipeline = [
    dict(type='LoadVideoFeature', stream='text'),
    dict(type='LoadVideoFeature', stream='words'),
    dict(type='LoadVideoFeature', stream='hashed'),
    dict(type='TemporalCrop', prob=0.5, min_keep=0.5),
    dict(type='SpeedChange', prob=0.5, low=0.67, high=1.5),
    dict(type='ClipDrop', prob=0.3, rate=0.1),
    dict(type='ResampleClips', num_clips=num_clips, streams=('text', 'words', 'hashed')),
    dict(type='SampleQueries', max_queries=8),
    dict(type='PackMomentInputs')]
test_pipeline = [
    dict(type='LoadVideoFeature', stream='text'),
    dict(type='LoadVideoFeature', stream='words'),
    dict(type='LoadVideoFeature', stream='hashed'),
    dict(type='ResampleClips', num_clips=num_clips, streams=('text', 'words', 'hashed')),
    dict(type='PackMomentInputs')]

videos = dict(
    type='JsonlMomentDataset',
    data_root=data_root,
    name='youcook2_transcripts',
    ann_file='annotations/videos.jsonl',
    texts='annotations/videos.jsonl',
    split='all',
    features=dict(
        text=dict(type='PackedStore', path='features/speech', dim=384),
        words=dict(type='PackedStore', path='features/words', dim=256),
        hashed=dict(type='PackedStore', path='features/hashed', dim=1024)))
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        videos,
        folds=dict(num=5, test=0, part='train'),
        subset='fit',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        videos,
        folds=dict(num=5, test=0, part='train'),
        subset='holdout',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(videos, folds=dict(num=5, test=0, part='corpus'), pipeline=test_pipeline))

# So few queries: more dropout than where thousands are at hand.
model = dict(
    language=dict(dropout=0.3),
    pyramid=dict(dropout=0.3),
    decoupler=dict(momentum=0.0, bypass=True),  # what either brings here was not measured by itself
    head=dict(dropout=0.3),
    streams=dict(_delete_=True, text=dict(type='TemporalTower', in_dim=384, dim=128, depth=1, dropout=0.5)),
    # The sentence encoder has read speech and queries alike; and cooks say the things by name.
    aligned=[
        dict(type='AlignedStream', stream='text', in_dim=384, share=0.9),
        dict(type='AlignedStream', stream='words', in_dim=256, share=0.5, words=dict(type='BareWords'))],
    # Means of vectors do not tell whether a few clips say all that is asked for.
    word_match=dict(type='WordMatch', stream='hashed', windows=(5, 9, 17)),
    # A thousand queries teach what a moment looks like in the curves of their cosines; more than that,
    # fusion learns by heart (docs/recipes.md).
    reader=dict(learned=False),
    neck=None,
    prior=None,  # a few windows do not cover so long a video
    # Without fusion the scores of neighbours differ less than their likelihoods.
    test_cfg=dict(nms=dict(temperature=0.5)))
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_epochs=16, val_begin=3, val_interval=1)
default_hooks = dict(checkpoint=dict(save_best='R@1,IoU=0.5'))

test_cfg = dict(type='CorpusTestLoop', num_videos=50, num_fused=20, num_moments=100)
test_evaluator = [
    dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge'),
    dict(type='CorpusMomentMetric', topk=(1, 5, 10), ious=(0.3, 0.5, 0.7)),
]
