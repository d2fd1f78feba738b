# MMN on QVHighlights by captions, in five folds by video: of 150 seconds 32 pieces.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.tan2d'])
model = dict(
    type='MMN',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    dim=128,
    num_clips=32)
