# The first half of the epochs without fusion.
_base_ = ['../../demul_anet_simulated.py']
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='CalibrationHook'),
    dict(type='TwoStageHook', share=0.5)]
