# MMN on Charades-STA by CLIP features, in five folds by video.
_base_ = './tan2d_charades_clip_cv.py'
model = dict(type='MMN')
