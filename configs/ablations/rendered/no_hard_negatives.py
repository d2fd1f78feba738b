# No query is fused with another video than its own.
_base_ = ['../../demul_demo.py']
model = dict(train_cfg=dict(num_negatives=0))
