# The plainest dual encoder: contrast of query and moments, spans that the video alone proposes.
_base_ = ['../../demul_anet_simulated.py']
model = dict(
    neck=None,
    head=dict(
        profile=None,
        boundary_weight=0.0,
        inside_weight=0.0,
        joint=dict(type='JointScore', terms=('semantic',))))
