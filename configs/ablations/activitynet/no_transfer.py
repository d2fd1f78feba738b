# No semantic transfer: neither soft labels nor a memory of the captions of earlier batches.
_base_ = ['./full.py']
model = dict(memory=None)
