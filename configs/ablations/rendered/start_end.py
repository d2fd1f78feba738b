# Pairs of likely borders beside the pyramid's points.
_base_ = ['./full.py']
model = dict(head=dict(candidates=[dict(type='StartEndCandidates', dim=128)]))
