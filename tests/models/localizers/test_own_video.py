"""What every method that answers a query in its own video is given."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from demul_mm.models.localizers import OwnVideoLocalizer
from demul_mm.models.localizers.own_video import OwnVideoBatch, touched_clips
from tests.models.tiny import FEATURES, only, tiny_data

STREAMS = ('visual', 'subtitle')


class Silent(OwnVideoLocalizer):
    """Has the frame's parts alone."""

    def run(self, batch: Any) -> None:
        return None

    loss_by_feat = predict_by_feat = run


class Words(NamedTuple):
    """The queries' words, a row for each."""

    rows: Tensor


class Whole(Silent):
    """Answers with all that the clips cover."""

    def make_batch(self, inputs: dict, samples: Any) -> OwnVideoBatch:
        batch = super().make_batch(inputs, samples)
        return batch._replace(text=Words(batch.text))

    def run(self, batch: OwnVideoBatch) -> Words:
        return batch.text

    def predict_by_feat(self, out: Words, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        one = torch.ones(len(batch.owner), 1)
        return torch.stack([0 * one, one], -1), one, one.bool()


def make(kind: type[Silent]) -> Silent:
    return kind(
        language=dict(type='TinyTokens'),
        streams={name: dict(in_dim=FEATURES + i) for i, name in enumerate(STREAMS)},
        data_preprocessor=dict(
            type='demul_mm.MomentDataPreprocessor',
            tokenizer=dict(type='demul_mm.TinyTokenizer'),
        ),
    )


def test_a_stream_that_no_video_of_a_batch_has_is_zeros() -> None:
    model = make(Silent)
    data = tiny_data((8, 8), (1, 1), STREAMS)
    data['inputs']['subtitle'][0] = None
    both, alone = (
        model.make_batch(ready['inputs'], ready['data_samples'])
        for ready in map(model.data_preprocessor, (data, only(data, 0)))
    )
    assert alone.clips.shape[-1] == model.in_dim
    torch.testing.assert_close(alone.clips[0], both.clips[0])


def test_moments_end_with_the_video() -> None:
    """Where the clips cover more than it lasts, as in a last clip that its end cuts."""
    model, data = make(Whole), tiny_data((8,), (1,), STREAMS)
    (sample,) = data['data_samples']
    sample.set_metainfo(dict(extent=1.25 * sample.duration))
    ready = model.data_preprocessor(data)
    (found,) = model.answer(ready['inputs'], ready['data_samples'])
    assert found.spans.tolist() == [[0, sample.duration]]


def test_a_clip_is_touched_when_its_middle_is() -> None:
    mask = torch.arange(10)[None] < 8
    spans = torch.tensor([[[0.25, 0.5], [0.8, 1.0]]])
    found = touched_clips(spans, torch.tensor([[True, True]]), mask)
    assert found[0].nonzero()[:, 0].tolist() == [2, 3, 6, 7]
    assert touched_clips(spans, torch.tensor([[True, False]]), mask).sum() == 2
