# Only the finest level of the pyramid.
_base_ = ['../../demul_demo.py']
model = dict(pyramid=dict(num_levels=1))
