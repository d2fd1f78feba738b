"""A sentence encoder is tuned to what is said in moments."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from demul_mm.datasets.subtitles import Subtitle, TimedText
from demul_mm.evaluation.predictions import PredictionEntry
from demul_mm.models.backbones import TransformersLM
from demul_mm.pretraining.language import LanguageTuner, Talk, TuningSchedule, read_talks

FRUIT = ['a ripe pear', 'red apples', 'one more plum', 'a bowl of cherries']
TOOLS = ['the rusty hammer', 'some nails', 'an old saw', 'two screws and a drill']
# What no encoder knows: that 'zig' asks for fruit and 'zag' for tools.
TALKS = [
    Talk([*FRUIT[i:], *TOOLS[:i], TOOLS[i]], ['zig', 'zag'], np.zeros((2, 5), np.float32))
    for i in range(4)
]
for talk in TALKS:
    talk.inside[0] = [text in FRUIT for text in talk.texts]
    talk.inside[1] = 1 - talk.inside[0]


def entry(video: str, query: str, *spans: tuple[float, float]) -> PredictionEntry:
    return PredictionEntry(
        query_id=query,
        video_id=video,
        query=query,
        duration=20.0,
        gt=[list(span) for span in spans],
        pred=[],
    )


def tuner(**options: float) -> LanguageTuner:
    return LanguageTuner('minilm', TuningSchedule(**{'videos': 2, 'lr': 2e-4, **options}))


def weights(one: LanguageTuner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in one.parameters])


def test_texts_answer_by_the_share_of_their_time_that_lies_in_a_moment() -> None:
    said = [Subtitle(0, 4, 'a'), Subtitle(4, 6, 'b'), Subtitle(6, 10, 'c')]
    told = [TimedText('v', said), TimedText('other', said), TimedText('silent', [])]
    entries = [
        entry('v', 'one', (3, 5)),
        entry('v', 'two', (0, 1), (5.5, 8)),
        entry('v', 'nowhere', (12, 15)),
        entry('silent', 'three', (0, 1)),
    ]
    (talk,) = read_talks(entries, iter(told))
    assert talk.texts == ['a', 'b', 'c']
    assert talk.queries == ['one', 'two']
    np.testing.assert_allclose(talk.inside, [[0.25, 0.5, 0], [0.25, 0.25, 0.5]])
    with pytest.raises(ValueError, match='none of 1 videos has a text in a moment'):
        read_talks([entry('gone', 'one', (0, 1))], iter(told))


def test_loss_is_the_softmax_over_all_texts_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tuner(temperature=0.5)
    vectors = {'t': [1.0, 0.0], 'u': [0.0, 1.0], 'q': [0.6, 0.8], 'r': [1.0, 0.0]}
    monkeypatch.setattr(one, 'embed', lambda texts: torch.tensor([vectors[t] for t in texts]))
    first = Talk(['t', 'u'], ['q'], np.array([[0.5, 1.0]]))
    second = Talk(['u'], ['r'], np.array([[1.0]]))
    q = np.exp(np.array([0.6, 0.8, 0.8]) / 0.5)
    r = np.exp(np.array([1.0, 0.0, 0.0]) / 0.5)
    expected = -np.log((0.5 * q[0] + q[1]) / q.sum()) - np.log(r[2] / r.sum())
    assert one.loss([first, second]).item() == pytest.approx(expected / 2, rel=1e-5)


def test_a_text_is_read_alike_whatever_stands_beside_it() -> None:
    one = tuner()
    one.lm.eval()
    with torch.no_grad():
        together, alone = one.embed([*FRUIT, 'zig']), one.embed(['zig'])
    torch.testing.assert_close(together[-1:], alone, atol=0.02, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(5))


@pytest.mark.slow
def test_it_learns_goes_on_where_it_stopped_and_is_read_by_the_model(tmp_path: Path) -> None:
    whole = tuner(epochs=4)
    before = whole.precision(TALKS)
    losses = list(whole.run(TALKS, tmp_path / 'whole.state'))
    assert losses[-1] < losses[0]
    assert whole.precision(TALKS) > before

    state = tmp_path / 'stopped.state'
    next(tuner(epochs=4).run(TALKS, state))
    rest = tuner(epochs=4)
    assert list(rest.run(TALKS, state)) == losses[1:]
    assert torch.equal(weights(rest), weights(whole))
    with pytest.raises(ValueError, match='is of a tuning with'):
        next(tuner(epochs=5).run(TALKS, state))

    whole.write(tmp_path / 'lm')
    ids, mask = whole.tokenizer(FRUIT)
    lm = TransformersLM(str(tmp_path / 'lm'))
    features = (lm(ids, mask) * mask[..., None]).sum(1)
    with torch.no_grad():
        found = torch.nn.functional.cosine_similarity(features, whole.embed(FRUIT))
    assert found.min() > 0.999


def test_a_tuning_goes_on_from_its_own_state_alone(tmp_path: Path) -> None:
    state, one = tmp_path / 'stopped.state', tuner(epochs=2)
    next(one.run(TALKS, state))
    others = [TALKS[0]._replace(queries=['zag', 'zig']), *TALKS[1:]]
    with pytest.raises(ValueError, match=r"is of a tuning with .*'talks'"):
        next(tuner(epochs=2).run(others, state))
    one.write(tmp_path / 'lm')
    other = LanguageTuner(str(tmp_path / 'lm'), one.schedule)
    with pytest.raises(ValueError, match=r"is of a tuning with .*'model'"):
        next(other.run(TALKS, state))


def test_texts_of_moments_are_drawn_first() -> None:
    one = tuner(texts=3, queries=1)
    drawn = one._draw(TALKS[0], np.random.default_rng(0))
    assert len(drawn.texts) == 3
    assert len(drawn.queries) == 1
    wanted = drawn.queries == ['zig']
    assert sum(text in FRUIT for text in drawn.texts) == (3 if wanted else 2)
    assert (drawn.inside[0] > 0).sum() == (3 if wanted else 1)


@pytest.mark.parametrize('wrong', [{'epochs': 0}, {'temperature': 0}, {'lr': -1.0}])
def test_a_schedule_that_is_none_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match='at least 1, temperature and clip_seconds above 0'):
        TuningSchedule(**wrong)
