# Features of the small ClipCNN that tools/pretrain_backbone.py trains on the rendered corpus.
feature_dim = 256
features = dict(visual=dict(type='PackedStore', path='features', dim=feature_dim))
