# A plain fusion detector: the words are fused with every cell once; focal classification and
# regressed borders; nothing is shared with an index.
_base_ = ['../../demul_anet_simulated.py']
model = dict(
    retrieval=None,
    neck=dict(survivors=None),
    head=dict(
        profile=None,
        boundary_weight=0.0,
        inside_weight=0.0,
        joint=dict(type='JointScore', terms=('semantic',))))
