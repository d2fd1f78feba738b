# ResNet-152 (2,048) beside I3D (1,024), a row every 1.5 s, as published with TVR.
feature_dim = 3072
features = dict(visual=dict(type='PackedStore', path='features/i3d_resnet', dim=feature_dim))
