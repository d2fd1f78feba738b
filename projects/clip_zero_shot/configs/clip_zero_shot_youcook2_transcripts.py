# The same by what is said in YouCook2's videos, the steps of recipes as queries.
_base_ = '../../../configs/demul_youcook2_transcripts_cv.py'
custom_imports = dict(imports=['projects.clip_zero_shot'])
model = dict(
    _delete_=True,
    type='ZeroShot',
    data_preprocessor=dict(type='MomentDataPreprocessor', pad_divisor=1),
    streams=dict(text=dict(in_dim=384)),
    language=dict(type='SentenceVectors', lm=dict(type='TransformersLM', name='minilm')),
    scorer='scan',
    test_cfg=dict(nms=dict(type='MomentNMS', iou_thr=0.5, max_keep=5)))
test_dataloader = dict(dataset=dict(folds=None))
test_cfg = dict(_delete_=True, type='IndexTestLoop')
