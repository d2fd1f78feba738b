# 2D-TAN on Charades-STA by CLIP features, in five folds by video. A quarter of the paper's channels:
# with all (model.dim=512) a query takes sixteen times as long.
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.tan2d'])
model = dict(
    type='TAN2D',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    dim=128,
    num_clips=16)
