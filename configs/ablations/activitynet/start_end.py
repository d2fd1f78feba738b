# The pyramid's points alone, without pairs of likely borders.
_base_ = ['../../demul_anet_simulated.py']
model = dict(head=dict(candidates=[]))
