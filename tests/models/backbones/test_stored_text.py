"""Features of sentences from files in place of a language model."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mmengine.config import Config

from demul_mm.models.backbones import StoredSentences
from tests.models.tiny import SENTENCES, losses_of, tiny_data, tiny_model

ROOT = Path(__file__).parents[3]
DIM = 6


@pytest.fixture
def released(tmp_path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The folder of a release with the annotations beside it, as options; and what it holds."""
    rng = np.random.default_rng(0)
    (tmp_path / 'clip_text').mkdir()
    tokens = {}
    with open(tmp_path / 'train.jsonl', 'w') as file, h5py.File(tmp_path / 'text.h5', 'w') as flat:
        for number, text in enumerate(SENTENCES):
            row = dict(qid=number, query=f' {text} ', vid='a', duration=30.0)
            print(json.dumps(row), file=file)  # of the test split: without any moment
            tokens[text] = rng.standard_normal((number + 1, DIM)).astype(np.float16)
            whole = tokens[text][0]
            arrays = dict(last_hidden_state=tokens[text], pooler_output=whole)
            np.savez(tmp_path / 'clip_text' / f'qid{number}.npz', **arrays)
            flat[f'{number}'] = tokens[text]
    store = dict(type='FolderStore', path=str(tmp_path / 'clip_text'), name='qid{video_id}')
    data = dict(type='QVHighlightsDataset', ann_file=str(tmp_path / 'train.jsonl'), split='train')
    store.update(key='last_hidden_state', dim=DIM)
    return dict(store=store, datasets=[data]), tokens


def test_reads_what_was_released(released, tmp_path: Path):
    options, tokens = released
    flat = dict(type='HDF5Store', path=str(tmp_path / 'text.h5'))
    for store in (options['store'], flat):
        features, mask = StoredSentences(**{**options, 'store': store})(list(SENTENCES[::-1]))
        assert mask.sum(1).tolist() == [5, 4, 3, 2, 1]
        for row, valid, text in zip(features, mask, SENTENCES[::-1]):
            np.testing.assert_array_equal(row[valid], tokens[text].astype(np.float32))
            assert not row[~valid].any()
    pooled = {**options['store'], 'key': 'pooler_output'}
    features, mask = StoredSentences(**{**options, 'store': pooled})(list(SENTENCES[:2]))
    assert features.shape == (2, 1, DIM)
    assert mask.all()


def test_faults_are_named(released, tmp_path: Path):
    options, _ = released
    with pytest.raises(ValueError, match="'a dog' is none of the 5 sentences with features in"):
        StoredSentences(**options)(['a dog'])
    narrow = {**options['store'], 'dim': 4}
    with pytest.raises(ValueError, match=f"query '0' in .*rows of {DIM} values"):
        StoredSentences(**{**options, 'store': narrow})([SENTENCES[0]])
    (tmp_path / 'clip_text' / 'qid3.npz').unlink()
    with pytest.raises(ValueError, match=r'no features of 1 of 5 queries \(3, ...\)'):
        StoredSentences(**options)
    model = tiny_model(language=dict(lm=dict(type='StoredTokens', dim=DIM)), memory=None)
    with pytest.raises(ValueError, match=f'features of 4 values, the config says dim={DIM}'):
        model.encode_tokens(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))


def test_a_whole_model_learns_from_them(released):
    options, _ = released
    model = tiny_model(
        data_preprocessor=dict(tokenizer=dict(type='StoredSentences', **options)),
        language=dict(lm=dict(type='StoredTokens', dim=DIM)),
        memory=dict(caption_dim=DIM),
    )
    losses = losses_of(model, tiny_data())
    sum(losses.values()).backward()
    assert model.language.project[1].weight.grad.abs().sum() > 0
    two, one = model.encode_query(list(SENTENCES[3:])), model.encode_query([SENTENCES[3]])
    torch.testing.assert_close(two.shared[:1], one.shared, rtol=1e-5, atol=1e-5)


def test_the_documented_config_merges_into_a_whole_one(released, tmp_path: Path):
    """The example of tools/data/README.md over the recipe of QVHighlights."""
    text = (ROOT / 'tools' / 'data' / 'README.md').read_text()
    (example,) = re.findall(r'```python\n(queries = .*?)```', text, re.DOTALL)
    file = tmp_path / 'config.py'
    base = ROOT / 'configs' / 'demul_qvhighlights_captions_cv.py'
    file.write_text(f'_base_ = [{str(base)!r}]\n{example}')
    config = Config.fromfile(str(file))
    tokenizer = config.model.data_preprocessor.tokenizer
    assert set(tokenizer) == {'type', 'store', 'datasets'}
    assert config.model.language.lm == dict(type='StoredTokens', dim=512)
    options, tokens = released
    data = dict(tokenizer.datasets[0], **options['datasets'][0])
    store = dict(tokenizer.store, path=options['store']['path'], dim=DIM)
    features, _ = StoredSentences(store, [data])([SENTENCES[4]])
    np.testing.assert_array_equal(features[0], tokens[SENTENCES[4]].astype(np.float32))
