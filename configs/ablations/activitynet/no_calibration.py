# The scores as they were learnt: no calibration on the videos held out.
_base_ = ['../../demul_anet_simulated.py']
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100)]
