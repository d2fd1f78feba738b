# The curve of the moment's inside, smoothed over neighbouring clips.
_base_ = ['../../demul_anet_simulated.py']
model = dict(head=dict(smoothing=0.5))
