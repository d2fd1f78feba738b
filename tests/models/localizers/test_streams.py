"""Several streams, of which a video may lack any."""

import pytest
import torch

from demul_mm.models.localizers import DeMUL
from tests.models.tiny import (
    FEATURES,
    TOKENS,
    WORD_MATCH,
    WORDS,
    losses_of,
    only,
    predictions_of,
    tiny_data,
    tiny_model,
    train_steps,
)

STREAMS = ('visual', 'subtitle')
CLOSE = dict(rtol=1e-4, atol=1e-4)


def lacking(data: dict, stream: str, *videos: int) -> dict:
    """The batch without a stream of some videos."""
    rows = [None if v in videos else row for v, row in enumerate(data['inputs'][stream])]
    return dict(inputs={**data['inputs'], stream: rows}, data_samples=data['data_samples'])


@pytest.fixture(scope='module')
def model() -> DeMUL:
    model = tiny_model(STREAMS)
    train_steps(model, lacking(tiny_data(streams=STREAMS), 'subtitle', 1), 4)
    return model


@pytest.mark.parametrize('videos', [(1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize('stream', STREAMS)
def test_an_absent_stream_gives_finite_losses_gradients_and_moments(model, stream, videos):
    data = lacking(tiny_data(streams=STREAMS), stream, *videos)
    model.zero_grad()
    losses = losses_of(model, data)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    for sample in predictions_of(model, data):
        assert all(m.scores.isfinite().all() for m in sample.pred_moments)
        assert all(m.spans.isfinite().all() for m in sample.pred_moments)


def test_presence_of_a_stream_elsewhere_changes_nothing_here(model):
    """A video without subtitles is encoded alike, beside videos with them and alone."""
    data = lacking(tiny_data(streams=STREAMS), 'subtitle', 0)
    with torch.no_grad():
        beside = model.encode_video(model.data_preprocessor(data)['inputs'])
        alone = model.encode_video(model.data_preprocessor(only(data, 0))['inputs'])
    assert beside.stream_mask.tolist() == [[True, False], [True, True], [True, True]]
    first = beside.mask[0].nonzero()[:13, 0]  # the finest level
    for name in ('shared', 'spans'):
        one, many = getattr(alone, name)[0, :13], getattr(beside, name)[0, first]
        torch.testing.assert_close(many, one, **CLOSE)
    for one, two in zip(predictions_of(model, data), predictions_of(model, only(data, 0))):
        for a, b in zip(one.pred_moments, two.pred_moments):
            torch.testing.assert_close(a.spans, b.spans, **CLOSE)
            torch.testing.assert_close(a.scores, b.scores, **CLOSE)


def test_an_absent_stream_has_no_say(model):
    """What an encoder makes of nothing reaches no video: its weights do not matter there."""
    data = lacking(tiny_data(streams=STREAMS), 'subtitle', 0, 1, 2)
    other = tiny_model(STREAMS, seed=1)
    mixed = tiny_model(STREAMS)
    weights = model.state_dict()
    mine = ('towers.subtitle.', 'decoupler.streams.subtitle.')
    swapped = {k: v for k, v in other.state_dict().items() if k.startswith(mine)}
    mixed.load_state_dict({**weights, **swapped})
    for one, two in zip(predictions_of(model, data), predictions_of(mixed, data)):
        for a, b in zip(one.pred_moments, two.pred_moments):
            assert torch.equal(a.scores, b.scores)
    with torch.no_grad():
        one, two = losses_of(model, data), losses_of(mixed.eval(), data)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


def test_an_absent_stream_has_no_say_without_fusion():
    data = lacking(tiny_data(streams=STREAMS), 'subtitle', 0, 1, 2)
    one, two = tiny_model(STREAMS, neck=None), tiny_model(STREAMS, neck=None)
    with torch.no_grad():
        two.decoupler.streams['subtitle'].norm.bias += 1.0
        two.decoupler.streams['subtitle'].recombine.bias += torch.randn(32)
        for name, value in losses_of(one, data).items():
            assert value.item() == losses_of(two, data)[name].item(), name


def test_each_stream_matters_where_it_is(model):
    data = tiny_data(streams=STREAMS)
    with torch.no_grad():
        both = model.encode_video(model.data_preprocessor(data)['inputs']).shared
        for stream in STREAMS:
            without = lacking(data, stream, 1)
            shared = model.encode_video(model.data_preprocessor(without)['inputs']).shared
            changed = (shared - both).abs().amax((1, 2))
            assert changed[1] > 1e-3
            assert changed[[0, 2]].max() < 1e-5


@pytest.mark.parametrize('towers', [('visual',), STREAMS])
@pytest.mark.parametrize('part', ['aligned', 'word_match'])
def test_a_video_whose_only_stream_no_tower_reads_has_its_clips(towers, part):
    """It is found by that stream alone."""
    beside = dict(type='AlignedStream', stream='said', in_dim=TOKENS, share=0.5)
    model = tiny_model(towers, **(WORD_MATCH if part == 'word_match' else dict(aligned=[beside])))
    train_steps(model, said_too(towers, WORDS if part == 'word_match' else TOKENS), 3)
    data = said_too(towers, WORDS if part == 'word_match' else TOKENS)
    for name in towers:
        data = lacking(data, name, 1)
    with torch.no_grad():
        videos = model.encode_video(model.data_preprocessor(data)['inputs'])
    assert videos.num_clips.tolist() == [13, 8, 20]
    lengths = videos.shared.norm(dim=-1)
    torch.testing.assert_close(lengths, videos.mask.float(), rtol=1e-4, atol=1e-4)
    losses = losses_of(model, data)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    (alone,) = predictions_of(model, only(data, 1))
    for a, b in zip(predictions_of(model, data)[1].pred_moments, alone.pred_moments):
        assert len(a.spans)
        torch.testing.assert_close(a.spans, b.spans, **CLOSE)
        torch.testing.assert_close(a.scores, b.scores, **CLOSE)


def said_too(streams: tuple[str, ...], width: int) -> dict:
    """A batch with a further stream, ``said``."""
    data = tiny_data(streams=streams)
    rng = torch.Generator().manual_seed(5)
    said = [(torch.rand(n, width, generator=rng) < 0.5).float() for n in (13, 8, 20)]
    return dict(inputs={**data['inputs'], 'said': said}, data_samples=data['data_samples'])


def test_a_stream_the_batch_has_not_is_named(model):
    data = tiny_data((5,), (1,), streams=('visual',))
    with pytest.raises(ValueError, match=r"no stream 'subtitle' \(it has \['visual'\]\)"):
        predictions_of(model, data)


def test_features_of_another_width_are_refused(model):
    data = tiny_data((5,), (1,), streams=STREAMS)
    data['inputs']['visual'] = [torch.randn(5, 99)]
    message = f'have 99 dimensions, the model was built for {FEATURES}: set in_dim=99 of its stream'
    with pytest.raises(ValueError, match=message):
        predictions_of(model, data)


def test_a_pyramid_needs_a_fitting_divisor():
    with pytest.raises(ValueError, match=r'pad_divisor is 4; a pyramid of 4 levels needs .* of 8'):
        tiny_model(data_preprocessor=dict(pad_divisor=4))
