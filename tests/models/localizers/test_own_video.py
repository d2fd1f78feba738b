"""What every method that answers a query in its own video is given."""

from typing import Any

import torch

from demul_mm.models.localizers import OwnVideoLocalizer
from tests.models.tiny import FEATURES, only, tiny_data

STREAMS = ('visual', 'subtitle')


class Silent(OwnVideoLocalizer):
    """Has the frame's parts alone."""

    def run(self, batch: Any) -> None:
        return None

    loss_by_feat = predict_by_feat = run


def test_a_stream_that_no_video_of_a_batch_has_is_zeros() -> None:
    model = Silent(
        language=dict(type='TinyTokens'),
        streams={name: dict(in_dim=FEATURES + i) for i, name in enumerate(STREAMS)},
        data_preprocessor=dict(
            type='demul_mm.MomentDataPreprocessor',
            tokenizer=dict(type='demul_mm.TinyTokenizer'),
        ),
    )
    data = tiny_data((8, 8), (1, 1), STREAMS)
    data['inputs']['subtitle'][0] = None
    both, alone = (
        model.make_batch(ready['inputs'], ready['data_samples'])
        for ready in map(model.data_preprocessor, (data, only(data, 0)))
    )
    assert alone.clips.shape[-1] == model.in_dim
    torch.testing.assert_close(alone.clips[0], both.clips[0])
