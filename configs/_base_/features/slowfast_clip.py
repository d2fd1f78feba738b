# SlowFast R-50 (2,304) beside CLIP ViT-B/32 (512), a row every 2 s, as Moment-DETR and lighthouse
# publish them.
feature_dim = 2816
features = dict(visual=dict(type='PackedStore', path='features/slowfast_clip', dim=feature_dim))
