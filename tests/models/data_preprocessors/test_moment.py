"""Padding, masks, missing streams, and inputs that cannot be padded."""

import pytest
import torch

from demul_mm.models.data_preprocessors import MomentDataPreprocessor
from demul_mm.registry import MODELS
from tests.models.tiny import SENTENCES, tiny_sample


@pytest.fixture(scope='module')
def preprocessor() -> MomentDataPreprocessor:
    tokenizer = dict(type='TinyTokenizer')
    return MODELS.build(dict(type='MomentDataPreprocessor', tokenizer=tokenizer, pad_divisor=8))


@pytest.mark.parametrize(('lengths', 'padded'), [((1,), 8), ((8,), 8), ((9, 3), 16), ((24, 1), 24)])
def test_pads_to_the_next_multiple(preprocessor, lengths, padded):
    rows = [torch.randn(length, 5) for length in lengths]
    batch, mask = preprocessor({'inputs': {'visual': rows}})['inputs']['streams']['visual']
    assert batch.shape == (len(lengths), padded, 5)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == list(lengths)
    for row, values, valid in zip(rows, batch, mask):
        assert torch.equal(values[valid], row)
        assert not values[~valid].any()
        assert bool(valid[: len(row)].all())  # the padding is at the end


def test_features_of_any_kind_become_float32(preprocessor):
    rows = [torch.ones(3, 5, dtype=torch.float16), torch.ones(2, 5, dtype=torch.uint8)]
    batch, _ = preprocessor({'inputs': {'visual': rows}})['inputs']['streams']['visual']
    assert batch.dtype == torch.float32


def test_queries_of_all_videos_in_order(preprocessor):
    samples = [
        tiny_sample(9.0, SENTENCES[:2]),
        tiny_sample(9.0, []),
        tiny_sample(9.0, SENTENCES[2:3]),
    ]
    inputs = {'visual': [torch.randn(3, 5)] * 3}
    out = preprocessor({'inputs': inputs, 'data_samples': samples})
    ids, mask = preprocessor.tokenize(list(SENTENCES[:3]))
    assert torch.equal(out['inputs']['ids'], ids)
    assert torch.equal(out['inputs']['word_mask'], mask)
    assert [len(s.queries) for s in out['data_samples']] == [2, 0, 1]


def test_without_queries_there_are_no_words(preprocessor):
    out = preprocessor({'inputs': {'visual': [torch.randn(3, 5)]}})
    assert out['inputs']['ids'] is None
    assert out['data_samples'] is None


def test_a_missing_stream_is_all_mask(preprocessor):
    inputs = {
        'visual': [torch.randn(3, 5), torch.randn(9, 5)],
        'subtitle': [torch.randn(3, 7), None],
        'audio': [None, None],
    }
    streams = preprocessor({'inputs': inputs})['inputs']['streams']
    assert {mask.shape for _, mask in streams.values()} == {(2, 16)}  # one clip axis for all
    assert streams['subtitle'][0].shape == (2, 16, 7)
    assert streams['subtitle'][1].sum(1).tolist() == [3, 0]
    assert streams['audio'][1].sum() == 0
    assert not streams['subtitle'][0][1].any()


def test_streams_of_a_video_must_share_the_clip_axis(preprocessor):
    inputs = {
        'visual': [torch.randn(4, 5), torch.randn(9, 5)],
        'subtitle': [torch.randn(4, 7), torch.randn(6, 7)],
    }
    samples = [tiny_sample(9.0, [], seed=3), tiny_sample(9.0, [], seed=4)]
    message = r"video 'v4' has 9 clips of 'visual' but 6 of 'subtitle'.*ResampleClips"
    with pytest.raises(ValueError, match=message):
        preprocessor({'inputs': inputs, 'data_samples': samples})


def test_a_video_without_any_clip_is_named(preprocessor):
    inputs = {'visual': [torch.randn(4, 5), None], 'audio': [None, torch.zeros(0, 3)]}
    samples = [tiny_sample(9.0, [], seed=3), tiny_sample(9.0, [], seed=4)]
    with pytest.raises(ValueError, match="video 'v4' has no clip in any stream"):
        preprocessor({'inputs': inputs, 'data_samples': samples})
    with pytest.raises(ValueError, match='video 1 of the batch has no clip'):
        preprocessor({'inputs': inputs})


def test_features_of_one_stream_must_have_one_width(preprocessor):
    inputs = {'visual': [torch.randn(4, 5), torch.randn(4, 6)]}
    samples = [tiny_sample(9.0, [], seed=3), tiny_sample(9.0, [], seed=4)]
    with pytest.raises(ValueError, match=r"video 'v4' has 'visual' features of 6.*others.* 5"):
        preprocessor({'inputs': inputs, 'data_samples': samples})
