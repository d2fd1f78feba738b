# Classification alone: fixed windows around the points, without regression, quality, borders,
# coherence and the video's own score.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(head=dict(regress=False, joint=dict(type='JointScore', terms=('semantic',))))
