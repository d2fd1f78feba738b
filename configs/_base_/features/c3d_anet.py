# C3D with PCA to 500 values, as published with ActivityNet 1.3; one row every 8 frames.
feature_dim = 500
features = dict(visual=dict(type='PackedStore', path='features/c3d', dim=feature_dim))
# Without packing, straight from the published file:
# features = dict(visual=dict(
#     type='HDF5Store', path='features/sub_activitynet_v1-3.c3d.hdf5',
#     key='{video_id}/c3d_features', dim=feature_dim))
