# CLIP ViT-L/14 image features, 768 values a row, in one HDF5 file with a data set a video.
feature_dim = 768
features = dict(visual=dict(type='HDF5Store', path='features/clip_l14.hdf5', dim=feature_dim))
