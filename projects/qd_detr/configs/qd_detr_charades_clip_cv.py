# QD-DETR on Charades-STA by CLIP features, in five folds by video.
_base_ = '../../moment_detr/configs/moment_detr_charades_clip_cv.py'
custom_imports = dict(imports=['projects.qd_detr'])
model = dict(
    type='QDDETR',
    # Most of CLIP's vectors is the same in all clips: half of it dropped drowns what differs.
    input_dropout=0.1,
    language=dict(dropout=0.1),
    saliency_weight=4.0)  # as the authors' later CG-DETR has on Charades-STA
