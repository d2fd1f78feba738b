# AdamW for all weights, at the learning rate that was best for it.
_base_ = ['../../demul_demo.py']
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.5e-3, weight_decay=1e-2, fused=True))
