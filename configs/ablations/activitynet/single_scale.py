# Only the finest level of the pyramid.
_base_ = ['./full.py']
model = dict(pyramid=dict(num_levels=1))
