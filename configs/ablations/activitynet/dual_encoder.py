# The plainest dual encoder: contrast of query and moments, spans that the video alone proposes.
_base_ = ['../../demul_anet_simulated.py']
model = dict(
    neck=None,
    decorrelation=None,
    confusion=None,
    decoupler=dict(private_dim=0),
    head=dict(
        profile=None,
        quality_weight=0.0,
        boundary_weight=0.0,
        inside_weight=0.0,
        joint=dict(type='JointScore', terms=('semantic',))))
