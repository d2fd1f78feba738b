# CTRL on QVHighlights by captions, in five folds by video. Its moments last up to two and a half
# minutes: windows are longer than the paper's, and offsets are counted in captions.
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.ctrl'])
model = dict(
    type='CTRL',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    lengths=(4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    unit=2.0)
