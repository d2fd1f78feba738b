# CTRL on Charades-STA by CLIP features, in five folds by video.
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.ctrl'])
model = dict(
    type='CTRL',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128)
