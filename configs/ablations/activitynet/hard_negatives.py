# A quarter of the queries are also fused with the video of the batch that looks most like theirs.
_base_ = ['../../demul_anet_simulated.py']
model = dict(train_cfg=dict(num_negatives=0.25))
