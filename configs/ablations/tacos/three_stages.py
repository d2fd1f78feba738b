# The method's three fusion stages, sentence, phrases and words, where the recipe has the last.
_base_ = ['../../demul_tacos_simulated.py']
model = dict(neck=dict(stages=('sentence', 'phrases', 'words'), cells_talk=False))
