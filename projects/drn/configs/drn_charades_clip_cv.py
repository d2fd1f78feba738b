# MMAction2's DRN on Charades-STA by CLIP features, in five folds by video. Needs its code, which the
# mmaction2 wheel lacks: pip install "demul-mm[drn]"
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.drn'])
model = dict(
    type='GroundedDRN',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3),
    text_dim=128)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
