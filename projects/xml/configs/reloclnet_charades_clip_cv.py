# ReLoCLNet on Charades-STA by CLIP features: XML with contrasts in place of the hinge.
_base_ = './xml_charades_clip_cv.py'
model = dict(
    contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07),
    clip_contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07, loss_weight=0.1))
