# MMAction2's DRN on QVHighlights by captions, in five folds by video: see drn_charades_clip_cv.py.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.drn'])
model = dict(
    type='GroundedDRN',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3),
    text_dim=128)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
