# A candidate does not see the query's curves around it.
_base_ = ['../../demul_demo.py']
model = dict(head=dict(profile=None))
