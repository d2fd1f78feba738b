# Fusion does not teach the shared space.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(distillation=None))
