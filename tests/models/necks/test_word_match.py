"""How many of a sentence's words are said around each clip."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.necks import WordMatch
from demul_mm.registry import MODELS

from ..tiny import WORD_MATCH, WORDS, only, predictions_of, tiny_data, tiny_model, with_words

V, T = 3, 12
WINDOWS = (1, 3, 7)


def matcher(windows: tuple[int, ...] = WINDOWS) -> WordMatch:
    model = WordMatch('said', dict(dim=WORDS), windows).eval()
    model.said.copy_(torch.arange(WORDS))  # the higher, the more common
    model.clips.fill_(40)
    return model


def said(rate: float = 0.2) -> tuple[Tensor, Tensor]:
    """Words of clips ``(V, T, W)``, and the mask of videos of 12, 7 and 1 clips."""
    torch.manual_seed(0)
    x = torch.rand(V, T, WORDS) * (torch.rand(V, T, WORDS) < rate)
    return x, torch.arange(T) < torch.tensor([[12], [7], [1]])


def one_by_one(x: Tensor, mask: Tensor, asked: Tensor, window: int) -> list[float]:
    """The curve of a query ``(L,)`` in a video ``(T, W)``, clip by clip and word by word."""
    words = [w for w in asked.tolist() if w >= 0]
    weight = {w: torch.log(torch.tensor(41 / (w + 1))).item() ** 2 for w in words}
    curve = []
    for t in range(len(x)):
        near = range(max(0, t - window // 2), min(len(x), t + window // 2 + 1))
        there = [w for w in words if any(mask[s] and x[s, w] > 0 for s in near)]
        curve.append(sum(weight[w] for w in there) / sum(weight[w] for w in words))
    return curve


def test_each_word_counts_once_by_its_rarity_if_it_is_near() -> None:
    model, (x, mask) = matcher(), said()
    asked = torch.tensor([[3, 9, 15, -1], [0, -1, 3, 3], [7, 2, -1, -1]])
    video, query = torch.tensor([2, 0, 1, 1, 0]), torch.tensor([0, 0, 1, 2, 2])
    curves, told = model(model.encode_video(x, mask), asked, video, query)
    assert curves.shape == told.shape == (5, len(WINDOWS), T)
    for r, (v, q) in enumerate(zip(video.tolist(), query.tolist())):
        for c, window in enumerate(WINDOWS):
            expected = torch.tensor(one_by_one(x[v], mask[v], asked[q], window))
            torch.testing.assert_close(curves[r, c], expected)
        any_word = (x[v] > 0).any(-1) & mask[v]
        assert torch.equal(told[r], any_word.expand(len(WINDOWS), -1))


def test_all_words_are_one_and_none_is_zero() -> None:
    model, (x, mask) = matcher(), said(1.1)
    asked = torch.tensor([[4, 5], [-1, -1]])  # the second has no word that is known
    pair = torch.zeros(2, dtype=torch.int64), torch.arange(2)
    curves, _ = model(model.encode_video(x, mask), asked, *pair)
    torch.testing.assert_close(curves[0], torch.ones(len(WINDOWS), T))
    assert not curves[1].any()


def test_bits_are_the_words_of_a_clip() -> None:
    x, mask = said(0.5)
    x[0, 0, 0] = 1e-9  # what resampling leaves behind
    bits = matcher().encode_video(x, mask)
    assert bits.dtype == torch.uint8
    assert bits.shape == (V, T, WORDS // 8)
    back = (bits[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    assert torch.equal(back.flatten(2).bool(), (x > 1e-3) & mask[..., None])


def test_a_batch_without_the_stream_has_no_words_and_another_stream_is_refused() -> None:
    model, (x, mask) = matcher(), said()
    assert not model.encode_video(x[..., :0], mask & False).any()
    with pytest.raises(ValueError, match="stream 'said' has 8 values a clip, WordMatch reads 16"):
        model.encode_video(x[..., :8], mask)


def test_how_rare_a_word_is_is_learnt_from_training_clips_alone() -> None:
    model, (x, mask) = WordMatch('said', dict(dim=WORDS)), said()
    there = (x > 0) & mask[..., None]
    for _ in range(2):
        model.train().encode_video(x, mask)
        model.eval().encode_video(x, mask)
    torch.testing.assert_close(model.said, 2 * there.sum((0, 1)).float())
    assert model.clips == 2 * there.any(-1).sum()


@pytest.mark.parametrize('windows', [(), (4,), (3, 0), (-1,)])
def test_windows_without_a_middle_are_refused(windows: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='give odd numbers of clips'):
        MODELS.build(dict(type='WordMatch', stream='said', windows=windows))


def test_the_reader_learns_from_the_words_alone() -> None:
    """Of one batch, through the whole model; and a video is answered as in other company."""
    model, batch = tiny_model(**WORD_MATCH).train(), with_words(tiny_data())
    sum(model.loss(**model.data_preprocessor(batch)).values()).backward()
    for name, parameter in model.reader.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    model.eval()
    together, alone = predictions_of(model, batch)[1], predictions_of(model, only(batch, 1))[0]
    assert len(alone.pred_moments) == len(together.pred_moments) > 0
    for one, other in zip(alone.pred_moments, together.pred_moments):
        torch.testing.assert_close(one.spans, other.spans, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-4)


def test_what_nothing_reads_is_refused() -> None:
    with pytest.raises(ValueError, match='nothing reads what word_match tells'):
        tiny_model(**{**WORD_MATCH, 'reader': None})
