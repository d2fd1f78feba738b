# An estimate of how well borders fit, beside a semantic score that is already trained towards it.
_base_ = ['../../demul_demo.py']
model = dict(
    head=dict(
        quality_weight=1.0,
        joint=dict(terms=('semantic', 'quality', 'boundary', 'coherence', 'video'))))
