# CONQUER's ranking over the ten best videos of XML, on Charades-STA by CLIP features.
_base_ = '../../xml/configs/xml_charades_clip_cv.py'
custom_imports = dict(imports=['projects.conquer'])
model = dict(type='Conquer')
test_cfg = dict(num_searched=10)
