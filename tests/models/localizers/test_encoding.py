"""Both encoders work apart, and neither padding nor batching changes what they say."""

import inspect

import pytest
import torch

from demul_mm.models.localizers import DeMUL
from demul_mm.structures import VideoEncoding
from tests.models.tiny import SENTENCES, only, predictions_of, tiny_data

CLOSE = dict(rtol=1e-4, atol=1e-5)


@torch.no_grad()
def encode(model: DeMUL, data: dict) -> VideoEncoding:
    return model.encode_video(model.data_preprocessor(data)['inputs'])


def test_a_video_is_the_same_to_the_last_bit_whatever_is_asked_of_it(trained: DeMUL):
    data = tiny_data()
    before = encode(trained, data)
    for queries in ([], [SENTENCES[4]], list(SENTENCES)):
        for sample in data['data_samples']:
            sample.queries = queries
        predictions_of(trained, data)
        after = encode(trained, data)
        assert all(torch.equal(a, b) for a, b in zip(before, after))


def test_the_video_encoder_takes_no_query_and_the_query_encoder_no_video():
    assert list(inspect.signature(DeMUL.encode_video).parameters) == ['self', 'inputs']
    assert list(inspect.signature(DeMUL.encode_query).parameters) == ['self', 'sentences']


def test_encode_video_does_not_read_the_words(trained: DeMUL):
    ready = trained.data_preprocessor(tiny_data())['inputs']
    without = {**ready, 'ids': None, 'word_mask': None}
    with torch.no_grad():
        one, two = trained.encode_video(ready), trained.encode_video(without)
    assert all(torch.equal(a, b) for a, b in zip(one, two))


def cells_of(length: int, padded: int, levels: int = 4) -> torch.Tensor:
    """Where the cells of a video padded to ``length`` are among those of one padded further."""
    places, offset = [], 0
    for level in range(levels):
        places.append(torch.arange(length >> level) + offset)
        offset += padded >> level
    return torch.cat(places)


def test_a_batch_of_three_videos_is_three_of_one(trained: DeMUL):
    data = tiny_data((13, 8, 20))
    batch = encode(trained, data)
    for v, padded in enumerate((16, 8, 24)):
        alone = encode(trained, only(data, v))
        places = cells_of(padded, 24)
        valid = alone.mask[0]
        assert torch.equal(valid, batch.mask[v, places])
        assert int(batch.mask[v].sum()) == int(valid.sum())  # nothing valid elsewhere
        for name in ('shared', 'spans'):
            one, many = getattr(alone, name)[0], getattr(batch, name)[v, places]
            torch.testing.assert_close(many[valid], one[valid], **CLOSE)
        for name in ('points', 'private'):
            one, many = getattr(alone, name)[0, 0], getattr(batch, name)[v, 0, places]
            torch.testing.assert_close(many[valid], one[valid], **CLOSE)


def test_what_stands_in_the_padding_is_never_read(trained: DeMUL):
    ready = trained.data_preprocessor(tiny_data())['inputs']
    x, mask = ready['streams']['visual']
    noisy = torch.where(mask[..., None], x, 1e3 * torch.randn_like(x))
    with torch.no_grad():
        one = trained.encode_video(ready)
        two = trained.encode_video({'streams': {'visual': (noisy, mask)}})
    valid = one.mask
    assert torch.equal(one.shared[valid], two.shared[valid])
    assert torch.equal(one.points[:, 0][valid], two.points[:, 0][valid])


@pytest.mark.parametrize('lengths', [(1,), (2,), (9,), (1, 17)])
def test_a_video_of_any_length_is_encoded(trained: DeMUL, lengths: tuple[int, ...]):
    found = encode(trained, tiny_data(lengths, (1,) * len(lengths)))
    assert all(field.isfinite().all() for field in found)
    # A level of stride s has ceil(T / s) cells with a clip.
    expected = [sum(-(-length // 2**level) for level in range(4)) for length in lengths]
    assert found.mask.sum(1).tolist() == expected
    torch.testing.assert_close(found.shared[found.mask].norm(dim=-1), torch.ones(sum(expected)))
    spans = found.spans[found.mask]
    assert bool((spans >= 0).all() and (spans <= 1).all() and (spans[:, 0] <= spans[:, 1]).all())


def test_a_query_is_the_same_in_any_company(trained: DeMUL):
    with torch.no_grad():
        together = trained.encode_query(list(SENTENCES))
        for q, sentence in enumerate(SENTENCES):
            alone = trained.encode_query([sentence])
            for name in ('sentence', 'phrases', 'private', 'shared', 'meaning'):
                one, many = getattr(alone, name)[0], getattr(together, name)[q]
                torch.testing.assert_close(many, one, **CLOSE)
            number = len(sentence.split())
            torch.testing.assert_close(together.words[q, :number], alone.words[0], **CLOSE)
            assert not together.words[q, number:].any()
            assert not together.phrase_attention[q, :, number:].any()


def test_query_vectors_are_unit_vectors(trained: DeMUL):
    with torch.no_grad():
        found = trained.encode_query(list(SENTENCES))
    for vectors in (found.shared, found.meaning):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
