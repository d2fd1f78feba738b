# Fusion does not teach the shared space.
_base_ = ['../../demul_anet_simulated.py']
model = dict(head=dict(distillation=None))
