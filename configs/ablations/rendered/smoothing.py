# The curve of the moment's inside as it comes, clip by clip.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(smoothing=1.0))
