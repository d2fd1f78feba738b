"""What a word does for a clip is what the clip's score loses without it."""

import pytest
import torch

from demul_mm.models.localizers import DeMUL
from demul_mm.models.localizers.explain import clip_relevance, phrase_maps
from demul_mm.structures import PhraseMap
from tests.models.tiny import predictions_of, tiny_data, tiny_model

SENTENCE = 'the azure disc blinks, then leaves'


def one_video(model: DeMUL, video: int = 1):
    inputs = model.data_preprocessor(tiny_data())['inputs']
    with torch.no_grad():
        return model.encode_video(inputs).select(torch.tensor([video]))


@pytest.mark.parametrize('reader', [None, dict(type='SimilarityReader', dim=32, learned=True)])
@pytest.mark.parametrize('stages', [('words',), ('sentence', 'words'), None])
def test_the_relevance_of_clips_is_that_of_localization(
    stages: tuple[str, ...] | None, reader: dict | None
):
    """Though it looks at the finest level alone."""
    neck = dict(stages=stages, cells_talk=True) if stages else None
    model = tiny_model(neck=neck, reader=reader)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    video = one_video(model)
    number, clips = torch.arange(2), int(video.num_clips[0])
    queries = model.encode_query([SENTENCE, 'a red box'])
    with torch.no_grad():
        near = model.similarity(video, queries, number * 0, number)
        points = model.points(model.padded_clips(video))
        whole = model.fuse(video, queries, number * 0, number, points, near)
        found = clip_relevance(model, video, [SENTENCE, 'a red box'])
    assert found.shape == (2, clips)
    torch.testing.assert_close(found, whole.dense_logit[:, :clips], rtol=1e-4, atol=1e-4)
    model.max_pair_points = 1
    with torch.no_grad():
        alone = clip_relevance(model, video, [SENTENCE, 'a red box'])
    torch.testing.assert_close(alone, found, rtol=1e-4, atol=1e-4)


def test_a_words_part_is_what_is_lost_without_it(trained: DeMUL):
    video = one_video(trained)
    (found,) = phrase_maps(trained, video, [SENTENCE])
    assert found.texts == ['the', 'azure', 'disc', 'blinks', 'then', 'leaves']
    with torch.no_grad():
        whole = clip_relevance(trained, video, [SENTENCE])
        without = clip_relevance(trained, video, ['the azure disc , then leaves'])
    torch.testing.assert_close(found.clips[3:4], whole - without, rtol=1e-4, atol=1e-4)
    assert found.clips.abs().max() > 0


def test_a_word_alone_is_compared_with_the_rest_of_the_video(trained: DeMUL):
    video = one_video(trained)
    one, none = phrase_maps(trained, video, ['disc', '?'])
    assert one.texts == ['disc']
    assert abs(float(one.clips.mean())) < 1e-5
    assert none.texts == []
    assert none.clips.shape == (0, int(video.num_clips[0]))


def test_the_model_explains_itself_only_when_asked(trained: DeMUL):
    data = tiny_data((13, 20), (2, 1))
    assert all('pred_phrases' not in sample for sample in predictions_of(trained, data))
    try:
        trained.explain = True
        samples = predictions_of(trained, data)
    finally:
        trained.explain = False
    for sample, clips in zip(samples, (13, 20)):
        assert len(sample.pred_phrases) == len(sample.queries)
        for found, sentence in zip(sample.pred_phrases, sample.queries):
            assert found.texts == sentence.split()
            assert found.clips.shape == (len(found.texts), clips)


def test_the_mean_in_a_span_by_hand():
    found = PhraseMap(['red', 'disc'], torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.0]]))
    spans = torch.tensor([[0.25, 0.75], [0.5, 0.625], [0.375, 1.0]])
    torch.testing.assert_close(
        found.within(spans), torch.tensor([[0.5, 1.0, 0.4], [0.25, 0.0, 0.1]])
    )
    assert found.within(torch.zeros(0, 2)).shape == (2, 0)
