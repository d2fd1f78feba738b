# The curve of the moment's inside as it comes, clip by clip.
_base_ = ['./full.py']
model = dict(head=dict(smoothing=1.0))
