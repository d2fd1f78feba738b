"""An hour of video."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from demul_mm.models.localizers import DeMUL
from tests.models.tiny import SENTENCES, predictions_of, tiny_data


def flops(model: DeMUL, clips: int) -> tuple[int, int]:
    """Of encoding a video, and of encoding it and localising two queries in it."""
    data = tiny_data((clips,), (2,))
    ready = model.data_preprocessor(data)
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        model.encode_video(ready['inputs'])
    with FlopCounterMode(display=False) as whole:
        predictions_of(model, data)
    return encoding.get_total_flops(), whole.get_total_flops()


def test_cost_is_linear_in_the_length(trained: DeMUL):
    """Four times the clips cost four times as much to encode, and less to fuse."""
    short, long = flops(trained, 192), flops(trained, 768)
    assert long[0] <= 4 * short[0]
    # The stages after the first see as many survivors as in a short video.
    assert long[1] - long[0] < 3.9 * (short[1] - short[0])


@pytest.mark.slow
def test_an_hour_is_encoded_and_searched_in_bounded_memory(trained: DeMUL):
    clips, budget = 3600, trained.max_pair_points
    data = tiny_data((clips,), (4,))
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    try:
        trained.max_pair_points = 2 * clips  # one query at a time
        with Watch():
            (sample,) = predictions_of(trained, data)
    finally:
        trained.max_pair_points = budget
    # No tensor holds clips times clips: the largest are the windows' keys and values.
    assert largest < 1000 * clips < clips**2
    assert [len(moments.scores) for moments in sample.pred_moments] == [5] * 4
    for moments in sample.pred_moments:
        assert bool(moments.spans.isfinite().all())
        assert bool(moments.scores.isfinite().all())
    with torch.no_grad():
        videos = trained.encode_video(trained.data_preprocessor(data)['inputs'])
        queries = trained.encode_query(list(SENTENCES[:4]))
        found = trained.localize(videos, queries, torch.zeros(4).long(), torch.arange(4))
    assert videos.mask.sum() == 3600 + 1800 + 900 + 450
    assert found.spans.shape == (4, 12, 2)
