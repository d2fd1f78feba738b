# No semantic transfer: neither soft labels nor a memory of the captions of earlier batches.
_base_ = ['../../demul_demo.py']
model = dict(memory=None)
