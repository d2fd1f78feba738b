# No query is fused with another video than its own.
_base_ = ['./full.py']
model = dict(train_cfg=dict(num_negatives=0))
