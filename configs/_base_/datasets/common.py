# What the data sets share: how they are loaded, and the recall of moments. A data set's own file
# adds its annotations and its pipelines, and a leaf adds the features:
# train_dataloader = dict(dataset=dict(features={{_base_.features}})), same for val, test.
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge')
test_evaluator = val_evaluator
