# CLIP on the 1,000 videos of Charades-STA whose frames' vectors are at hand: nothing is trained, so
# no fold is left out. The text side must be of the model that made them:
# tools/test.py projects/clip_zero_shot/configs/clip_zero_shot_charades_clip_cv.py
_base_ = '../../_base_/charades_clip_cv.py'
custom_imports = dict(imports=['projects.clip_zero_shot'])
model = dict(
    type='ZeroShot',
    data_preprocessor=dict(
        tokenizer=dict(
            _delete_=True, type='ImageTextSentences', name='openai/clip-vit-large-patch14')),
    language=dict(type='SentenceVectors', lm=dict(type='StoredTokens', dim={{_base_.feature_dim}})),
    scorer='scan')
test_dataloader = dict(dataset=dict(folds=None))
test_cfg = dict(type='IndexTestLoop')
test_evaluator = [
    {{_base_.val_evaluator}},
    dict(type='CorpusMomentMetric', topk=(1, 10, 100), ious=(0.5, 0.7)),
]
