# 2D-TAN on QVHighlights by captions, in five folds by video. Videos of 150 s need a finer map than
# those of half a minute: twice the clips of Charades-STA, and half the channels, at the same cost.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.tan2d'])
model = dict(
    type='TAN2D',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    dim=64,
    num_clips=32)
