# Pairs of likely borders as candidates beside the pyramid's points.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(candidates=[dict(type='StartEndCandidates', dim=128)]))
