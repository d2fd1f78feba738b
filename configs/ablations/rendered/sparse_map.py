# Spans of a sparse 2-D map instead of pairs of likely borders.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(candidates=[dict(type='SparseMapCandidates', dim=128)]))
