# ReLoCLNet on QVHighlights by captions: XML with two contrasts beside the hinge.
_base_ = './xml_qvhighlights_captions_cv.py'
model = dict(
    contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07, loss_weight=0.03),
    clip_contrast=dict(type='MultiPositiveInfoNCE', temperature=0.07, loss_weight=0.03))
