# No query is fused with another video than its own.
_base_ = ['../../demul_anet_simulated.py']
model = dict(train_cfg=dict(num_negatives=0))
