# Fusion teaches the shared space how it ranks.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(distillation=dict(type='FusionDistillation')))
