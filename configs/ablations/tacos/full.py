# The whole method, every part of it; the others of this folder leave one out or put one in.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(
    neck=dict(stages=('sentence', 'phrases', 'words'), cells_talk=False),
    head=dict(candidates=[]),
    train_cfg=dict(num_negatives=0.25))
