# Semantic transfer: soft labels, and a memory of the captions and moments of earlier batches.
_base_ = ['../../demul_demo.py']
model = dict(memory=dict(type='SemanticMemory', caption_dim=384, shared_dim=128, size=1024))
