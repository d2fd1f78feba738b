# Spans of a sparse 2-D map as candidates beside the pyramid's points.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(candidates=[dict(type='SparseMapCandidates', dim=128)]))
