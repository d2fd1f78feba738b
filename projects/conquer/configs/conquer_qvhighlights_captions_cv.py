# CONQUER's ranking over the ten best videos of XML, on QVHighlights by captions.
_base_ = '../../xml/configs/xml_qvhighlights_captions_cv.py'
custom_imports = dict(imports=['projects.conquer'])
model = dict(type='Conquer')
test_cfg = dict(num_searched=10)
