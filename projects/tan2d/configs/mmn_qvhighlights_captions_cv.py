# MMN on QVHighlights by captions, in five folds by video.
_base_ = './tan2d_qvhighlights_captions_cv.py'
model = dict(type='MMN')
