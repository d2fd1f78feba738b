# C3D fc6, as 2D-TAN publishes it for TACoS (tall_c3d_features.hdf5).
feature_dim = 4096
features = dict(visual=dict(type='PackedStore', path='features/c3d', dim=feature_dim))
