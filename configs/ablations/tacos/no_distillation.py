# Fusion does not teach the shared space.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(head=dict(distillation=None))
