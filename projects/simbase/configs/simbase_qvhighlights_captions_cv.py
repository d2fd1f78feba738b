# SimBase on QVHighlights by captions, in five folds by video.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.simbase'])
model = dict(
    type='SimBase',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    dim=256)
