# DeMUL on Charades-STA with GloVe word vectors in place of a language model: no transformer runs
# over the words. tools/data/pack_word_vectors.py makes the file; with path=None there is none, and
# the vectors are learned from the training sentences.
_base_ = ['./demul_charades.py']
model = dict(
    data_preprocessor=dict(tokenizer=dict(_delete_=True, type='WordTokenizer')),
    language=dict(
        lm=dict(_delete_=True, type='WordVectors', path='data/glove/glove.6B.300d.safetensors',
                dim=300, tune=False)))
