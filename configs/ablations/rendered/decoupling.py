# Private parts beside the shared ones, and the losses that keep them apart.
_base_ = ['../../demul_demo.py']
model = dict(
    decoupler=dict(private_dim=64),
    decorrelation=dict(type='CrossCorrelationLoss', loss_weight=0.1),
    confusion=dict(type='ModalityConfusionLoss', dim=128, loss_weight=0.01))
