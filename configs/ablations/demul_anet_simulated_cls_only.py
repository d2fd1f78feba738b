# Ranked by classification alone: without quality, borders, coherence and the video's own score.
_base_ = ['../demul_anet_simulated.py']
model = dict(head=dict(joint=dict(type='JointScore', terms=('semantic',))))
