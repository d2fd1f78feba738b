"""Searches that come together are encoded together, and get what each would have got alone."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from demul_mm.server import api
from demul_mm.server.service import SENTENCES, Service, SharedEncoder
from demul_mm.server.together import Together
from demul_mm.zero_shot.image_text import ImageTextEncoder
from tests.app.encoders import save_encoder
from tests.app.films import ColourEncoder
from tests.server.homes import make_home

WAITING = [f'{colour} {number}' for number in range(3) for colour in ('red', 'green', 'blue')]


class Held(ColourEncoder):
    """Is at its first sentence until it is told to go on, and knows no 'bad' ones."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.asked: list[list[str]] = []
        self.go_on = threading.Event()

    def encode_texts(self, sentences: Sequence[str]) -> np.ndarray:
        self.asked.append(list(sentences))
        if sentences[0] == 'first':
            assert self.go_on.wait(60)
        if any('bad' in one for one in sentences):
            raise ValueError('a bad sentence')
        return super().encode_texts(list(sentences))


def wait_for(shared: SharedEncoder, calls: int) -> None:
    """Until so many calls wait for the one that is answered."""
    end = time.monotonic() + 60
    while len(shared._ask._waiting) < calls:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize('extra', [['red', 'red 0'], ['red', 'bad']])
def test_what_waits_is_one_batch_and_a_bad_one_harms_no_other(extra: list[str]) -> None:
    encoder, alone = Held(), ColourEncoder()
    shared = SharedEncoder(encoder)
    with ThreadPoolExecutor(12) as pool:
        pool.submit(shared.encode_texts, ['first'])
        while not encoder.asked:
            time.sleep(0.01)
        calls = [pool.submit(shared.encode_texts, [one]) for one in WAITING]
        pair = pool.submit(shared.encode_texts, extra)
        wait_for(shared, 10)
        encoder.go_on.set()
    assert sorted(encoder.asked[1]) == sorted({*WAITING, *extra})  # each once
    vectors = np.concatenate([call.result() for call in calls])
    assert np.array_equal(vectors, alone.encode_texts(WAITING))
    if 'bad' in extra:
        with pytest.raises(ValueError, match='a bad sentence'):
            pair.result()
    else:
        assert len(encoder.asked) == 2
        assert np.array_equal(pair.result(), alone.encode_texts(extra))


def test_sentences_are_remembered() -> None:
    encoder = Held()
    shared = SharedEncoder(encoder)
    shared.encode_texts(['red', 'blue'])
    shared.encode_texts(['blue', 'green', 'red'])
    assert encoder.asked == [['red', 'blue'], ['green']]
    for number in range(SENTENCES - 1):
        shared.encode_texts([f'red {number}', 'blue'])
    assert len(shared._vectors) == SENTENCES
    encoder.asked.clear()
    shared.encode_texts(['blue'])
    assert not encoder.asked
    shared.encode_texts(['red'])
    assert encoder.asked == [['red']]


@pytest.mark.parametrize('kind', ['clip', 'siglip'])
def test_a_batch_gives_the_vectors_of_its_sentences(tmp_path: Path, kind: str) -> None:
    encoder = ImageTextEncoder(str(save_encoder(tmp_path, kind)), 'cpu', offline=True)
    sentences = ['a red dog', 'the', 'a blue square leaves the dog a red', 'blue dog']
    together = SharedEncoder(encoder).encode_texts(sentences)
    alone = np.concatenate([encoder.encode_texts([one]) for one in sentences])
    assert np.allclose(together, alone, atol=1e-6)


def test_no_call_is_lost_and_none_gets_another_ones_answer() -> None:
    sizes: list[int] = []

    def answer(items: list[int]) -> list[int]:
        sizes.append(len(items))
        time.sleep(0.001)
        return [2 * item for item in items]

    together = Together(answer)
    with ThreadPoolExecutor(16) as pool:
        calls = [list(range(number, number + number % 3 + 1)) for number in range(300)]
        answers = list(pool.map(together, calls))
    assert answers == [[2 * item for item in call] for call in calls]
    assert sum(sizes) == sum(map(len, calls))
    assert max(sizes) > 3


def test_searches_through_the_server(tmp_path: Path) -> None:
    home, encoder = make_home(tmp_path), Held()
    service = Service(home / 'library', lambda name: encoder, allowed=[home / 'more'])
    service.library.update([home / 'films'])
    shared: SharedEncoder = service.library.encoder

    def search(query: str) -> tuple[int, dict]:
        answer = client.post('/api/search', json=dict(query=query, kinds=['picture']))
        return answer.status_code, answer.json()

    app = api.create_app(service)
    with (
        TestClient(app, base_url='http://127.0.0.1:8000') as client,
        ThreadPoolExecutor(12) as pool,
    ):
        alone = [search(one) for one in WAITING]
        shared._vectors.clear()
        encoder.asked.clear()
        pool.submit(search, 'first')
        while not encoder.asked:
            time.sleep(0.01)
        found = [pool.submit(search, one) for one in [*WAITING, 'bad']]
        wait_for(shared, 10)
        encoder.go_on.set()
        assert [one.result() for one in found[:-1]] == alone
        assert found[-1].result() == (400, dict(detail='a bad sentence'))
