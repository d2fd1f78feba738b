# A candidate does not see the query's curves around it.
_base_ = ['../../demul_anet_simulated.py']
model = dict(head=dict(profile=None))
