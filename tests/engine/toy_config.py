_base_ = ['../../configs/_base_/default_runtime.py', '../../configs/_base_/schedules/muon_20e.py']
custom_imports = dict(imports=['tests.engine.toy'])

model = dict(type='ToyModel', pause=0.0)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ToyDataset', noise=0.3),
)
val_dataloader = dict(
    batch_size=5,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyDataset', length=17),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=0.02))
custom_hooks = [dict(type='EpochSeedHook'), dict(type='EMAHook', momentum=0.1)]
