# QD-DETR on Charades-STA by CLIP features, in five folds by video.
_base_ = '../../moment_detr/configs/moment_detr_charades_clip_cv.py'
custom_imports = dict(imports=['projects.qd_detr'])
model = dict(type='QDDETR')
