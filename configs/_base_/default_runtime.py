default_scope = 'demul_mm'

default_hooks = dict(
    runtime_info=dict(type='DeferredInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='MainLoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='PlannedScheduleHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
# A resumed run goes on exactly as if it had not been stopped.
# The averaged weights are the ones that are validated and saved.
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='SharedMeansHook'),
    dict(type='LengthMemoryHook'),
    dict(type='MomentPriorHook'),
    dict(type='VideoWeightHook'),
    dict(type='CalibrationHook'),
    dict(type='SentenceLengthHook'),
    dict(type='SentenceEncoderHook'),
    dict(type='ReadAheadHook')]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0, deterministic=False, diff_rank_seed=False)

log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'
work_dir = None
load_from = None
resume = False
find_unused_parameters = False
# The batch size that the learning rate was chosen for; --auto-scale-lr scales by it.
auto_scale_lr = dict(enable=False, base_batch_size=16)

# tools/test.py --tta: the moments of several time scales, merged by voting.
tta_scales = (1.0, 0.75, 1.5)
tta_model = dict(type='MomentTTAModel', vote_iou=0.7)
