# Charades-CD by CLIP features: trained on `train`, chosen on `val`, tested on `test_ood`, whose moments
# are elsewhere and of other lengths than those of training. For the test under the same distribution,
# --cfg-options test_dataloader.dataset.split=test_iid
# test_dataloader.dataset.ann_file=annotations/charades_cd/charades_test_iid.json. Videos without
# features are left out: of those of configs/demul_charades_clip_cv.py 676, 55, 55 and 214 remain.
_base_ = ['./demul_charades_clip_cv.py']
videos = dict(
    type='CharadesCDDataset',
    info_file=['annotations/Charades_v1_train.csv', 'annotations/Charades_v1_test.csv'],
    folds=None,
    subset='all',
    missing='skip')
train_dataloader = dict(
    dataset=dict(videos, ann_file='annotations/charades_cd/charades_train.json', split='train'))
val_dataloader = dict(
    dataset=dict(videos, ann_file='annotations/charades_cd/charades_val.json', split='val'))
test_dataloader = dict(
    dataset=dict(videos, ann_file='annotations/charades_cd/charades_test_ood.json', split='test_ood'))
published_train_queries = 11071
