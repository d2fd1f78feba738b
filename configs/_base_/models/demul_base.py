# DeMUL in twice the width and depth, for training sets of ten thousand queries and more.
_base_ = ['./demul.py']
model = dict(
    language=dict(dim=256),
    streams=dict(visual=dict(dim=256, depth=2, num_heads=8)),
    pyramid=dict(dim=256, num_heads=8),
    decoupler=dict(dim=256, shared_dim=256, private_dim=128),
    proposal=dict(dim=256),
    reader=dict(dim=256),
    neck=dict(dim=256, num_heads=8),
    head=dict(dim=256, profile=dict(dim=256)))
