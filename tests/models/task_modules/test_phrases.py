"""Which words make up a phrase, and which clips it is like."""

import torch
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.models.task_modules import TransformersTokenizer
from demul_mm.models.task_modules.phrases import phrase_texts, token_places
from tests.models.tiny import predictions_of, tiny_data

SENTENCE = 'The azure disc blinks, then leaves.'


def places_of(sentence: str) -> list[tuple[int, int]]:
    tokenizer = TransformersTokenizer('minilm')
    return token_places(tokenizer, sentence, len(tokenizer([sentence])[0][0]))


def attending(places: list[tuple[int, int]], sentence: str, *tokens: str) -> Tensor:
    """One phrase that attends to these tokens alone."""
    row = [float(sentence[start:end] in tokens and end > start) for start, end in places]
    return torch.tensor([row]).clamp(min=0.01)


def test_places_are_those_of_the_tokens():
    words = [SENTENCE[start:end] for start, end in places_of(SENTENCE)]
    assert [w for w in words if w] == [
        'The', 'azure', 'disc', 'blink', 's', ',', 'then', 'leaves', '.',
    ]  # fmt: skip


def test_a_phrase_is_made_of_whole_words_without_punctuation():
    places = places_of(SENTENCE)

    def text(*tokens: str) -> str:
        return phrase_texts(SENTENCE, places, attending(places, SENTENCE, *tokens))[0]

    assert text('azure', 'disc') == 'azure disc'
    assert text('s') == 'blinks'
    assert text('azure', 'blink', 'leaves', '.') == 'azure ... blinks ... leaves'
    assert text('blink', ',', 'then') == 'blinks, then'
    assert phrase_texts('?!', [(0, 1), (1, 2)], torch.ones(2, 2)) == ['', '']


def test_the_model_explains_itself_only_when_asked(trained: DeMUL):
    data = tiny_data((13, 20), (2, 1))
    assert all('pred_phrases' not in sample for sample in predictions_of(trained, data))
    try:
        trained.explain = True
        samples = predictions_of(trained, data)
    finally:
        trained.explain = False
    inputs = trained.data_preprocessor(data)['inputs']
    with torch.no_grad():
        videos = trained.encode_video(inputs)
        queries = trained.encode_tokens(inputs['ids'], inputs['word_mask'])
    row = 0
    for v, (sample, clips) in enumerate(zip(samples, (13, 20))):
        assert len(sample.pred_phrases) == len(sample.queries)
        for found, sentence in zip(sample.pred_phrases, sample.queries):
            assert found.words.shape == (3, len(sentence.split()))
            # The first stage reads the sentence as one.
            cosine = queries.phrase_shared[row] @ videos.shared[v, :clips].T
            torch.testing.assert_close(found.clips, cosine)
            for text in found.texts:
                assert set(text.replace(' ... ', ' ').split()) <= set(sentence.split())
            row += 1
