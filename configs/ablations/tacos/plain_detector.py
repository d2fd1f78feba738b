# A plain fusion detector: the words are fused with every cell once; focal classification and
# regressed borders; nothing is shared with an index.
_base_ = ['./full.py']
model = dict(
    neck=dict(stages=('words',), survivors=None, cells_talk=True),
    memory=None,
    retrieval=None,
    decorrelation=None,
    confusion=None,
    decoupler=dict(private_dim=0),
    train_cfg=dict(num_negatives=0),
    head=dict(
        profile=None,
        distillation=None,
        quality_weight=0.0,
        boundary_weight=0.0,
        inside_weight=0.0,
        joint=dict(type='JointScore', terms=('semantic',))))
