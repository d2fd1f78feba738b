# QD-DETR on Charades-STA by CLIP features, in five folds by video.
_base_ = '../../moment_detr/configs/moment_detr_charades_clip_cv.py'
custom_imports = dict(imports=['projects.qd_detr'])
# The weight of saliency is the one that the authors' later CG-DETR has on Charades-STA.
model = dict(type='QDDETR', saliency_weight=4.0)
