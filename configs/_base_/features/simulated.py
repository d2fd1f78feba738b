# Stand-in features made from the annotations by tools/data/simulate_features.py, in place of those
# of any config: --cfg-options features=configs/_base_/features/simulated.py. No measure of accuracy
# on real videos: every table made from them says so.
feature_dim = 256
features = dict(
    visual=dict(type='PackedStore', path='features/simulated/{split}', dim=feature_dim))
