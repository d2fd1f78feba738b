# The same without an image-text model: one sentence encoder reads machine captions and queries, so
# that captions stand where frames' vectors do. All queries of QVHighlights val; nothing is trained:
# tools/test.py projects/clip_zero_shot/configs/clip_zero_shot_qvhighlights_captions.py
_base_ = '../../_base_/qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.clip_zero_shot'])
model = dict(
    type='ZeroShot',
    language=dict(type='SentenceVectors', lm=dict(type='TransformersLM', name='minilm')),
    scorer='scan')
test_dataloader = dict(dataset=dict(folds=None))
test_cfg = dict(type='IndexTestLoop')
test_evaluator = [
    dict(type='QVHighlightsMetric'),
    dict(type='CorpusMomentMetric', topk=(1, 5, 10, 100), ious=(0.5, 0.7)),
]
