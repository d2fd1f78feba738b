# I3D RGB, 1,024 values.
feature_dim = 1024
features = dict(visual=dict(type='PackedStore', path='features/i3d', dim=feature_dim))
