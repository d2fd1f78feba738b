# QD-DETR on QVHighlights by captions, in five folds by video.
_base_ = '../../moment_detr/configs/moment_detr_qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.qd_detr'])
model = dict(type='QDDETR')
