# Fusion does not teach the shared space.
_base_ = ['./full.py']
model = dict(head=dict(distillation=None))
