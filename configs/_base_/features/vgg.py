# VGG-16 fc7, as 2D-TAN publishes it for Charades-STA (vgg_rgb_features.hdf5) and as MCN does for
# DiDeMo.
feature_dim = 4096
features = dict(visual=dict(type='PackedStore', path='features/vgg', dim=feature_dim))
