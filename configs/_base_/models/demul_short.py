# DeMUL over pre-extracted features of one visual stream; a leaf gives their width (`in_dim`). The
# short form, for trainings of minutes: the last of the three fusion stages, and no private parts.
model = dict(
    type='DeMUL',
    data_preprocessor=dict(
        type='MomentDataPreprocessor',
        tokenizer=dict(type='TransformersTokenizer', name='minilm'),
        pad_divisor=32),
    language=dict(
        type='LanguageEncoder',
        # What the words are alone beside what they mean together: colours and numbers stay apart.
        lm=dict(type='TransformersLM', name='minilm', tune='none', layers=(0, -1)),
        dim=128,
        num_phrases=4),
    streams=dict(visual=dict(type='TemporalTower', in_dim=256, dim=128, depth=1)),
    pyramid=dict(type='TemporalPyramid', dim=128, num_levels=6),
    decoupler=dict(type='SemanticDecoupler', dim=128, shared_dim=128, private_dim=0),
    proposal=dict(type='ProposalHead', dim=128),
    # What each part is worth, and what is left out for it: docs/model.md, benchmarks/ablations.py.
    neck=dict(type='ProgressiveFusion', dim=128, stages=('words',), cells_talk=True),
    head=dict(
        type='UnifiedMomentHead',
        dim=128,
        profile=dict(type='CurveProfile', dim=128),
        joint=dict(type='JointScore', terms=('semantic', 'boundary', 'coherence', 'video'))),
    criterion=dict(
        type='MomentCriterion',
        weights=dict(
            # In the shared space, without fusion.
            moment=0.5, query=0.5, video=0.5, proposal=0.5, phrases=0.1, decorrelation=0.0, confusion=0.0,
            # Of the pairs that are fused.
            semantic=1.0, span=1.0, quality=0.0, stages=0.25, boundary=0.1, inside=0.5, joint=1.0,
            distillation=0.0)),
    calibrator=dict(type='ScoreCalibrator'),
    train_cfg=dict(num_negatives=0),
    test_cfg=dict(
        nms=dict(type='ExpectedRecall', ious=(0.3, 0.5, 0.7), max_keep=5),
        max_pair_points=50000,
        explain=False))
