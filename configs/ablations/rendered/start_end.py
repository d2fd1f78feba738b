# The pyramid's points alone, without pairs of likely borders.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(candidates=[]))
