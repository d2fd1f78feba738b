# CTRL on Charades-STA by CLIP features, in five folds by video. Of the paper's four windows the two
# middle ones, 128 and 256 frames: the alignment loss never compares windows of one video, and a
# window of 64 or 512 frames fits few of these moments (chosen on held-out training videos).
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.ctrl'])
model = dict(
    type='CTRL',
    language=dict(type='LanguageEncoder', lm={{_base_.lm}}, dim=128, dropout=0.3, word_drop=0.15),
    text_dim=128,
    lengths=(5.12, 10.24))
