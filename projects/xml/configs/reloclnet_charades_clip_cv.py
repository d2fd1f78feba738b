# ReLoCLNet on Charades-STA by CLIP features: XML with two contrasts beside the hinge.
_base_ = './xml_charades_clip_cv.py'
model = dict(
    contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07, loss_weight=0.03),
    clip_contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07, loss_weight=0.03))
