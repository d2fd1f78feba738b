# Spans of a sparse 2-D map beside the pyramid's points.
_base_ = ['./full.py']
model = dict(head=dict(candidates=[dict(type='SparseMapCandidates', dim=128)]))
