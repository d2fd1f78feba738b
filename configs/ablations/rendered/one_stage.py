# One fusion stage, over the words, instead of three.
_base_ = ['./full.py']
model = dict(neck=dict(stages=('words',), cells_talk=True))
