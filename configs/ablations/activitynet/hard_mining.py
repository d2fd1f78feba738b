# Batches of videos that the model takes for each other, mined before each epoch.
_base_ = ['../../demul_anet_simulated.py']
train_dataloader = dict(sampler=dict(_delete_=True, type='HardVideoSampler', group=4))
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='EMAHook', ema_type='ForeachEMA', momentum=0.002, gamma=100),
    dict(type='CalibrationHook'),
    dict(type='HardVideoMiningHook', begin=2)]
