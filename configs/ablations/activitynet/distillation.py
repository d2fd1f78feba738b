# Fusion teaches the shared space how it ranks.
_base_ = ['../../demul_anet_simulated.py']
model = dict(head=dict(distillation=dict(type='FusionDistillation')))
