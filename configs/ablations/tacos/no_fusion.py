# The dual encoder that is indexed, with the same head: query and video never meet.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(neck=None)
