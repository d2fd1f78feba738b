# The joint score without the estimate of how well the borders fit.
_base_ = ['../../demul_demo.py']
model = dict(
    head=dict(
        quality_weight=0.0,
        joint=dict(type='JointScore', terms=('semantic', 'boundary', 'coherence', 'video'))))
