"""What is past the end of what the model reads is said before the work begins."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from torch import nn

from demul_mm.apis import CorpusInferencer, MomentInferencer
from demul_mm.datasets import JsonlMomentDataset, PackedWriter
from demul_mm.engine.hooks import SentenceEncoderHook, SentenceLengthHook
from demul_mm.models.backbones import TransformersLM
from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.task_modules import WordTokenizer
from tests.apis.small import SmallCorpus, make_small_corpus
from tests.models.tiny import FEATURES

LONG = ' '.join(['word'] * 65)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def write(folder: Path, name: str, sentences: list[str]) -> JsonlMomentDataset:
    queries = [dict(query=text, spans=[[0, 1]]) for text in sentences]
    line = json.dumps(dict(video_id='v', duration=4.0, queries=queries))
    (folder / f'{name}.jsonl').write_text(line)
    return JsonlMomentDataset(str(folder / f'{name}.jsonl'), split=name)


def test_each_data_set_is_told_of_once(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    model = nn.Module()
    model.data_preprocessor = SimpleNamespace(tokenizer=WordTokenizer())
    train = write(tmp_path, 'train', [LONG, 'short', f'{LONG} more'])
    val = write(tmp_path, 'val', ['short'])
    both = ConcatDataset([train])
    loaders = {
        f'{k}_dataloader': SimpleNamespace(dataset=d)
        for k, d in dict(train=both, val=val, test=train).items()
    }
    runner = SimpleNamespace(model=model, val_loop=object(), **loaders)
    hook = SentenceLengthHook()
    hook.before_train(runner)
    warnings = [r.message for r in said.records if 'longer than' in r.message]
    assert len(warnings) == 1
    assert 'sentences of jsonl train: 2 of 3 are longer than the 64 tokens' in warnings[0]
    hook.before_test(runner)
    assert sum('longer than' in r.message for r in said.records) == 2


def test_a_stream_that_another_encoder_made_is_told_of(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    with PackedWriter(str(tmp_path / 'text'), dim=4, provenance={'lm': 'minilm'}) as writer:
        writer.add('v', np.ones((4, 4), np.float32))
    ann_file = write(tmp_path, 'train', ['short']).ann_file
    store = dict(type='PackedStore', path=str(tmp_path / 'text'))
    steps = [dict(type='LoadVideoFeature', stream='text')]
    train = JsonlMomentDataset(ann_file, split='train', features=dict(text=store), pipeline=steps)
    runner = SimpleNamespace(model=nn.Module(), test_dataloader=SimpleNamespace(dataset=train))
    lm = runner.model.lm = TransformersLM('minilm')
    hook = SentenceEncoderHook()
    cases = ((None, 'minilm', 0), (None, 'other', 1), (nn.Identity(), 'other', 0))
    for words, name, number in cases:
        said.clear()
        space = runner.model.space = AlignedStream('text', in_dim=4)
        lm.name, space.words = name, words
        hook.before_test(runner)
        found = [r.message for r in said.records if "was made with 'minilm'" in r.message]
        assert len(found) == number
    del runner.model.lm  # sentences are stored: who made them is not told
    runner.model.space.words = None
    said.clear()
    hook.before_test(runner)
    assert not said.records


def test_queries_of_the_inferencers(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    corpus: SmallCorpus = make_small_corpus(tmp_path / 'small', clip_seconds=2.0)
    find = MomentInferencer(corpus.config, corpus.checkpoint, 'cpu')
    search = CorpusInferencer(corpus.config, corpus.checkpoint, device='cpu')
    search.build_index(dict(type='ExactIndex'))
    for one in (find, search):
        one.model.data_preprocessor.tokenizer.max_length = 64
        one.model.data_preprocessor.tokenizer.cut = WordTokenizer().cut
    array = np.ones((8, FEATURES), np.float32)
    for ask in (
        lambda q: find([array, array], q),
        search,
        lambda q: [search.session(t) for t in q],
    ):
        said.clear()
        ask([LONG])
        assert [
            'queries: 1 of 1' in r.message for r in said.records if 'longer than' in r.message
        ] == [True]
