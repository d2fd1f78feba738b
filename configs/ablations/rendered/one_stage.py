# One fusion stage, over the words, instead of three.
_base_ = ['../../demul_demo.py']
model = dict(neck=dict(stages=('words',), cells_talk=True))
