"""A published model answers as the one it was made of, and nothing in its folder runs."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from demul_mm.apis import CorpusInferencer, MomentInferencer, load_model, published
from demul_mm.apis.publishing import needs, publish
from demul_mm.registry import MODELS
from tests.apis.small import SmallCorpus
from tests.models.tiny import FEATURES, SENTENCES, tiny_config
from tests.tools.running import call


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model's words are a class of the tests."""
    monkeypatch.setattr(published, 'PLACES', (*published.PLACES, 'tests.models.tiny.'))


@pytest.fixture
def folder(corpus: SmallCorpus, tmp_path: Path) -> Path:
    return publish(corpus.config, corpus.checkpoint, tmp_path / 'model', licence='mit')


def test_it_answers_as_before(corpus: SmallCorpus, folder: Path) -> None:
    before = MomentInferencer(corpus.config, corpus.checkpoint, 'cpu')
    after = MomentInferencer.from_pretrained(folder, device='cpu', offline=True)
    asked = dict(videos=corpus.features['v0'], queries=list(SENTENCES), durations=26.0)
    assert after(**asked) == before(**asked)
    assert after.fingerprint == before.fingerprint
    search = CorpusInferencer.from_pretrained(
        folder, device='cpu', videos=list(corpus.features.values()),
        durations=list(corpus.durations.values()),
    )  # fmt: skip
    search.build_index(dict(type='ExactIndex'))
    assert len(search(SENTENCES[0], num_moments=3)[0]['moments']) == 3
    with pytest.raises(ValueError, match='no video file v0'):
        after('v0', SENTENCES[0])


@pytest.mark.parametrize('longest', [-5.0, 0.0, float('nan'), float('inf')])
def test_no_length_is_refused(corpus: SmallCorpus, tmp_path: Path, longest: float) -> None:
    given = (corpus.config, corpus.checkpoint, tmp_path / 'model')
    with pytest.raises(ValueError, match=f'longest is {longest}'):
        publish(*given, longest=longest)
    text = Path(corpus.config).read_text() + f"\nlongest_seconds = float('{longest}')\n"
    (tmp_path / 'config.py').write_text(text)
    if longest:
        with pytest.raises(ValueError, match=f'longest is {longest}'):
            publish(tmp_path / 'config.py', *given[1:])
    assert not (tmp_path / 'model').exists()


def test_the_tested_weights_are_published(corpus: SmallCorpus, tmp_path: Path) -> None:
    """Those under ``state_dict``, where mmengine keeps the averaged ones; not the others."""
    content = torch.load(corpus.checkpoint, weights_only=True)
    raw = {f'module.{k}': v + 1 for k, v in content['state_dict'].items() if v.is_floating_point()}
    path = tmp_path / 'run.pth'
    torch.save(
        dict(content, ema_state_dict=raw, optimizer=dict(state={}), meta=dict(epoch=3)), path
    )
    folder = publish(corpus.config, path, tmp_path / 'model')
    saved = load_file(folder / 'model.safetensors')
    assert saved.keys() == content['state_dict'].keys()
    for name, value in content['state_dict'].items():
        torch.testing.assert_close(saved[name], value, rtol=0, atol=0)
    assert 'epoch 3' in (folder / 'README.md').read_text()


def test_its_index_is_that_of_the_config(corpus: SmallCorpus, tmp_path: Path) -> None:
    """Also where the config names a file from which a training took an encoder's weights."""
    start = dict(type='Pretrained', checkpoint='of_the_training.pth')
    eye = dict(type='ClipCNN', out_dim=FEATURES, widths=(4, 4, 4), init_cfg=start)
    config = Config.fromfile(corpus.config)
    config.model = tiny_config(frame_encoder=dict(type='FrameEncoder', backbone=eye))
    load = dict(type='LoadVideoClips', num_clips=4)
    config.test_dataloader.dataset.pipeline = [load, dict(type='PackMomentInputs')]
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), weights)
    before = load_model(config, weights, 'cpu').fingerprint
    config.dump(tmp_path / 'config.py')
    folder = publish(tmp_path / 'config.py', weights, tmp_path / 'model')
    assert load_model(*published.read_published(folder), 'cpu').fingerprint == before
    assert load_model(folder / 'config.py', weights, 'cpu').fingerprint == before
    assert before in (folder / 'README.md').read_text()


def test_the_card_and_the_config_for_people(corpus: SmallCorpus, folder: Path) -> None:
    card = (folder / 'README.md').read_text()
    digest = hashlib.sha256((folder / 'model.safetensors').read_bytes()).hexdigest()
    assert f'| model.safetensors | {(folder / "model.safetensors").stat().st_size:,} |' in card
    assert digest in card
    assert 'license: mit' in card
    assert 'features `visual` of 12 values' in card
    assert 'not video files' in card
    whole = Config.fromfile(folder / 'config.py')
    assert whole.model == Config.fromfile(corpus.config).model
    again = load_model(folder / 'config.py', folder / 'model.safetensors', 'cpu')
    assert again.fingerprint == load_model(corpus.config, corpus.checkpoint, 'cpu').fingerprint


@pytest.mark.parametrize('scope', ['', 'demul_mm.'])
def test_the_sentence_encoder_is_among_the_needs(scope: str, folder: Path) -> None:
    content = json.loads((folder / 'config.json').read_text())
    content['model']['language']['lm'] = dict(type=f'{scope}TransformersLM', name='them/lm')
    assert 'sentences; their encoder is `them/lm`' in needs(content)


@pytest.mark.parametrize(
    ('part', 'told'),
    [
        (dict(type='os.system', command='touch was_run'), "'os.system'"),
        (dict(type='subprocess.Popen', args=['touch', 'was_run']), "'subprocess.Popen'"),
        (dict(type='mmengine.load', file='evil.pkl'), "'mmengine.load'"),
        (dict(type='TinyTokens', _scope_='os'), "'TinyTokens'"),
        (dict(type='TinyTokens', init_cfg=dict(checkpoint='evil.pth')), 'init_cfg'),
        (dict(type='mmaction.ResNet3d', pretrained='evil.pth'), 'pretrained'),
        (dict(type=['os', 'system']), 'no part of a model'),
    ],
)
def test_a_config_that_would_run_code_is_refused(
    part: dict, told: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads((folder / 'config.json').read_text())
    content['model']['language']['lm'] = part
    content['custom_imports'] = dict(imports=['was_imported'])
    Path('was_imported.py').write_text('open("was_run", "w")')
    (folder / 'config.json').write_text(json.dumps(content))
    (folder / 'config.py').write_text('open("was_run", "w")')
    with pytest.raises(ValueError, match='refused') as error:
        MomentInferencer.from_pretrained(folder)
    assert told in str(error.value)
    assert not os.path.exists('was_run')


def test_neither_scripts_nor_imports_are_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads((folder / 'config.json').read_text())
    content['custom_imports'] = dict(imports=['was_imported'])
    Path('was_imported.py').write_text('open("was_run", "w")')
    (folder / 'config.json').write_text(json.dumps(content))
    (folder / 'config.py').write_text('open("was_run", "w")')
    MomentInferencer.from_pretrained(folder)
    assert not os.path.exists('was_run')


def test_what_is_no_model_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no model folder'):
        MomentInferencer.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match='leave --offline out'):
        MomentInferencer.from_pretrained('nobody/no-such-model', offline=True)
    with pytest.raises(ValueError, match='has no revision'):
        MomentInferencer.from_pretrained(folder, revision='v1')
    (folder / 'model.safetensors').write_bytes(b'\x08' + bytes(20))
    with pytest.raises(ValueError, match=r'model.safetensors is damaged'):
        MomentInferencer.from_pretrained(folder)
    (folder / 'model.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match=r'lacks model\.safetensors'):
        MomentInferencer.from_pretrained(folder)


def test_the_tool(corpus: SmallCorpus, tmp_path: Path) -> None:
    done = call('tools/model/publish_model.py', corpus.config, corpus.checkpoint, tmp_path / 'a')
    assert done.code == 0, done.err
    assert done.out.strip().endswith('README.md, config.json, config.py, model.safetensors')
    assert published.is_published(tmp_path / 'a')
    assert not published.is_published(tmp_path)
