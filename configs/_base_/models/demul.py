# DeMUL: all that the method is named for. Curves of likeness are read at all scales before three
# fusion stages with all cells talking; private parts with the losses that keep them apart from the
# shared ones, and nothing beside the two parts that fusion could read; the quality of borders in
# the score, how long such moments last elsewhere, where moments lie at all, and the dropout that
# trainings need which are long enough to overfit. The shared space has the means of each modality
# and level taken off.
_base_ = ['./demul_short.py']
model = dict(
    language=dict(dropout=0.2, word_drop=0.1),
    streams=dict(visual=dict(dropout=0.2)),
    pyramid=dict(dropout=0.2),
    decoupler=dict(private_dim=64, dropout=0.2, momentum=0.05, bypass=False),
    reader=dict(type='SimilarityReader', dim=128),
    neck=dict(stages=('sentence', 'phrases', 'words')),
    head=dict(
        dropout=0.2,
        joint=dict(terms=('semantic', 'quality', 'boundary', 'coherence', 'video'))),
    length_memory=dict(type='LengthMemory'),
    prior=dict(type='MomentPrior'),
    criterion=dict(weights=dict(quality=1.0, decorrelation=0.1, confusion=0.01)))
