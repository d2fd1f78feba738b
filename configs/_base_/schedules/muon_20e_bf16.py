_base_ = ['./muon_20e.py']

# bfloat16 forward passes on CPU as on GPU.
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
