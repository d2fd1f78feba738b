# A candidate does not see the query's curves around it.
_base_ = ['./full.py']
model = dict(head=dict(profile=None))
