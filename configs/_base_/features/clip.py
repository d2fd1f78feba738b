# CLIP ViT-B/32 image features; made with tools/extract_features.py or published by others.
feature_dim = 512
features = dict(visual=dict(type='PackedStore', path='features/clip', dim=feature_dim))
