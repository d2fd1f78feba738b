# The plainest dual encoder: contrast of query and moments, spans that the video alone proposes.
_base_ = ['./full.py']
model = dict(
    neck=None,
    memory=None,
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
