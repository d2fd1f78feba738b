# DeMUL in a config of MMAction2's own scope: parts of DeMUL are named demul_mm.*, parts of
# MMAction2 and mmengine as in any MMAction2 config. The import makes both usable.
default_scope = 'mmaction'
custom_imports = dict(imports=['demul_mm'], allow_failed_imports=False)

data_root = 'data/rendered/'
dim = 64
model = dict(
    type='demul_mm.DeMUL',
    data_preprocessor=dict(
        type='demul_mm.MomentDataPreprocessor',
        tokenizer=dict(type='demul_mm.TransformersTokenizer', name='minilm'),
        pad_divisor=8),
    language=dict(
        type='demul_mm.LanguageEncoder',
        lm=dict(type='demul_mm.TransformersLM', name='minilm', tune='none'),
        dim=dim,
        num_phrases=4),
    frame_encoder=dict(
        type='demul_mm.FrameEncoder',
        backbone=dict(
            type='mmaction.ResNet3dSlowOnly', depth=18, base_channels=8, pretrained=None,
            conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1, norm_eval=False)),
    streams=dict(visual=dict(type='demul_mm.TemporalTower', in_dim=64, dim=dim, depth=1)),
    pyramid=dict(type='demul_mm.TemporalPyramid', dim=dim, num_levels=4),
    decoupler=dict(type='demul_mm.SemanticDecoupler', dim=dim, shared_dim=64, private_dim=32),
    proposal=dict(type='demul_mm.ProposalHead', dim=dim),
    neck=dict(type='demul_mm.ProgressiveFusion', dim=dim, stages=('sentence', 'words')),
    head=dict(type='demul_mm.UnifiedMomentHead', dim=dim),
    train_cfg=dict(num_negatives=1),
    test_cfg=dict(nms=dict(type='demul_mm.MomentNMS', iou_thr=0.5, max_keep=5)))

load_clips = dict(type='demul_mm.LoadVideoClips', clip_seconds=1.0, frames_per_clip=4, size=64)
dataset = dict(
    type='demul_mm.JsonlMomentDataset',
    name='rendered',
    data_root=data_root,
    data_prefix=dict(video=''))
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        ann_file='train.jsonl',
        split='train',
        pipeline=[
            load_clips,
            dict(type='demul_mm.SampleQueries', max_queries=4),
            dict(type='demul_mm.PackMomentInputs')],
        **dataset))
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='val.jsonl',
        split='val',
        test_mode=True,
        pipeline=[load_clips, dict(type='demul_mm.PackMomentInputs')],
        **dataset))
test_dataloader = dict(
    val_dataloader,
    dataset=dict(val_dataloader['dataset'], ann_file='test.jsonl', split='test'))
val_evaluator = dict(type='demul_mm.MomentRecall')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=8e-4), clip_grad=dict(max_norm=1.0))
default_hooks = dict(
    logger=dict(type='demul_mm.MainLoggerHook', interval=5),
    checkpoint=dict(type='demul_mm.AtomicCheckpointHook', interval=1, max_keep_ckpts=2))
custom_hooks = [dict(type='demul_mm.EpochSeedHook')]
randomness = dict(seed=0)
load_from = None
resume = False
work_dir = None
