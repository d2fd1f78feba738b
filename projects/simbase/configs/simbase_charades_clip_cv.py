# SimBase on Charades-STA by CLIP features, in five folds by video.
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.simbase'])
model = dict(
    type='SimBase',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    dim=256)
