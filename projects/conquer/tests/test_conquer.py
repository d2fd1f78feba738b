"""What a ranking over the best videos keeps to: gates, the shared scale, and the search."""

import itertools

import pytest
import torch

from demul_mm.registry import MODELS
from projects.conquer.model import Conquer
from projects.conquer.reader import BorderReader, StreamMixture, shared_log_softmax
from tests.models.tiny import FEATURES, tiny_data

STREAMS = ('visual', 'subtitle')


@pytest.fixture
def model() -> Conquer:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='Conquer',
            language=dict(type='WordProjection', lm=dict(type='TinyTokens'), dim=16),
            streams={name: dict(in_dim=FEATURES + i) for i, name in enumerate(STREAMS)},
            dim=16,
            data_preprocessor=dict(
                type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
            ),
        )
    ).eval()


def test_the_gates_of_a_query_share_its_streams() -> None:
    torch.manual_seed(0)
    mixture = StreamMixture(8, 3)
    present = torch.ones(2, 4, 3, dtype=torch.bool)
    present[0, 1, 2] = False  # one stream is silent for a while
    present[1, 3] = False  # all are
    query, streams = torch.randn(2, 8), torch.randn(2, 4, 3, 8)
    weights = mixture.weights(query, present)
    torch.testing.assert_close(weights.sum(-1), present.any(-1).float())
    assert (weights[~present] == 0).all()
    mixed = mixture(query, streams, present)
    assert (mixed[1, 3] == 0).all()
    same = streams[:, :, :1].expand(-1, -1, 3, -1)
    torch.testing.assert_close(mixture(query, same, present)[0], streams[0, :, 0])


def test_all_clips_of_all_videos_share_one_probability() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=rng)
    found = shared_log_softmax(logits)
    torch.testing.assert_close(found.exp().sum((1, 2)), torch.ones(2))
    raised = logits.clone()
    raised[:, 1] += 2.0  # a video that fits better: within it nothing moves, against others all
    other = shared_log_softmax(raised)
    torch.testing.assert_close(other.diff(dim=2), found.diff(dim=2))
    moved = (other[:, 1] - other[:, 0]) - (found[:, 1] - found[:, 0])
    torch.testing.assert_close(moved, torch.full((2, 5), 2.0))


def test_padding_changes_no_border() -> None:
    torch.manual_seed(0)
    reader = BorderReader(8).eval()
    x, words = torch.randn(2, 7, 8), torch.randn(2, 4, 8)
    mask = torch.arange(7) < torch.tensor([5, 7])[:, None]
    word_mask = torch.arange(4) < torch.tensor([3, 4])[:, None]
    start, end = reader(x * mask[..., None], mask, words, word_mask)
    alone = reader(x[:1, :5], mask[:1, :5], words[:1, :3], word_mask[:1, :3])
    torch.testing.assert_close(start[:1, :5], alone[0])
    torch.testing.assert_close(end[:1, :5], alone[1])


def test_an_end_knows_its_start_and_not_the_reverse() -> None:
    torch.manual_seed(0)
    reader = BorderReader(8).eval()
    x, mask = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    words = torch.randn(1, 3, 8)
    before = reader(x, mask, words, mask[:, :3])
    with torch.no_grad():
        for weight in reader.second.parameters():
            weight.zero_()
    after = reader(x, mask, words, mask[:, :3])
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_the_search_equals_a_slow_one(model: Conquer) -> None:
    """The moments of a query's videos, each pair of borders by hand."""
    data = model.data_preprocessor(tiny_data(lengths=(6, 4, 5), streams=STREAMS))
    batch = model.make_batch(data['inputs'], data['data_samples'])
    index = torch.tensor([[1, 0], [2, 1], [0, 2], [1, 2], [2, 0]])
    with torch.no_grad():
        videos = model.encode_clips(batch.clips, batch.mask)
        query = model.encode_words(batch.text)
        spans, scores, valid = model.search_moments(batch.text, query, videos, index)
        start, end = model.read(batch.text, videos.streams, videos.present, batch.mask, index)
    lengths = batch.mask.sum(1).tolist()
    for q, row in enumerate(index.tolist()):
        both = [torch.cat([x[q, n, : lengths[v]] for n, v in enumerate(row)]) for x in (start, end)]
        first, last = (x.log_softmax(0) for x in both)
        offset = 0
        for n, v in enumerate(row):
            slow = {
                (i / lengths[v], (j + 1) / lengths[v]): float(first[offset + i] + last[offset + j])
                for i, j in itertools.combinations_with_replacement(range(lengths[v]), 2)
            }
            pair = q * len(row) + n
            found = {
                tuple(span): score
                for span, score in zip(
                    spans[pair][valid[pair]].tolist(), scores[pair][valid[pair]].tolist()
                )
            }
            assert len(found) == len(slow)
            for (a, b), score in found.items():
                near = min(slow, key=lambda key: abs(key[0] - a) + abs(key[1] - b))
                assert near == pytest.approx((a, b))
                assert score == pytest.approx(slow[near], abs=1e-4)
            offset += lengths[v]


def test_wrong_videos_make_the_loss_larger(model: Conquer) -> None:
    """More clips compete for one place."""
    data = model.data_preprocessor(tiny_data(streams=STREAMS))
    losses = []
    for model.num_negatives in (0, 1, 2):
        torch.manual_seed(1)
        losses.append(model(**data, mode='loss')['loss_shared'].item())
    assert losses[0] < losses[1] < losses[2]
