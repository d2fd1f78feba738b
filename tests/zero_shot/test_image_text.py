"""Image-text models see pictures and sentences as their own processors prepare them."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, BertConfig, BertModel

from demul_mm.hub import download_notice, fetch, loading
from demul_mm.zero_shot.image_text import ImageTextEncoder
from tests.app.encoders import KINDS, save_encoder

SENTENCES = ['a red square leaves', 'the dog', 'blue']


@pytest.fixture(scope='module', params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    """Of one size, wider than high."""
    draw = np.random.default_rng(0)
    return list(draw.integers(0, 256, (5, 30, 50, 3), dtype=np.uint8))


def unit(found: object) -> np.ndarray:
    features = getattr(found, 'pooler_output', found)
    return torch.nn.functional.normalize(features, dim=-1).detach().numpy()


def test_pictures_go_through_the_processor(folder: Path, pictures: list[np.ndarray]) -> None:
    encoder = ImageTextEncoder(str(folder), device='cpu', dtype='float32')
    model = AutoModel.from_pretrained(folder).eval()
    inputs = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors='pt')
    expected = unit(model.get_image_features(**inputs))
    found = encoder.encode_images(pictures)
    assert found.shape == (5, encoder.dim)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.05  # they are not all alike


def test_a_batch_changes_nothing(folder: Path, pictures: list[np.ndarray]) -> None:
    whole = ImageTextEncoder(str(folder), device='cpu', dtype='float32')
    single = ImageTextEncoder(str(folder), device='cpu', dtype='float32', batch=1)
    np.testing.assert_allclose(
        whole.encode_images(pictures), single.encode_images(pictures), atol=1e-5
    )
    np.testing.assert_allclose(
        whole.encode_texts(SENTENCES), single.encode_texts(SENTENCES), atol=1e-5
    )
    assert whole.fingerprint == single.fingerprint


def test_sentences_are_padded_as_in_training(folder: Path) -> None:
    encoder = ImageTextEncoder(str(folder), device='cpu', dtype='float32')
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, sentence in zip(encoder.encode_texts(SENTENCES), SENTENCES):
        if 'siglip' in model.config.model_type:
            ids = tokenizer([sentence], padding='max_length', max_length=12).input_ids
            expected = model.get_text_features(input_ids=torch.tensor(ids))
        else:
            expected = model.get_text_features(**tokenizer([sentence], return_tensors='pt'))
        np.testing.assert_allclose(row, unit(expected)[0], atol=1e-5)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
        assert len(encoder.encode_texts(['red ' * 40, 'red'])) == 2  # cut, not refused
    # The tokenizer of SigLIP 2 does not know these words: they are one unknown token.
    told = 'queries: 1 of 2 are longer than the 12 tokens'
    assert [told in line for line in said] == [True] * ('siglip2' not in model.config.model_type)


def test_the_fingerprint_knows_the_weights(tmp_path: Path) -> None:
    one = ImageTextEncoder(str(save_encoder(tmp_path / 'one')), device='cpu')
    other = ImageTextEncoder(str(save_encoder(tmp_path / 'other')), device='cpu')
    assert one.fingerprint == other.fingerprint
    with torch.no_grad():
        other.model.logit_scale.add_(1)
    assert one.fingerprint != other.fingerprint


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    BertModel(BertConfig(hidden_size=16, num_attention_heads=2, vocab_size=9)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match='no image and text features'):
        ImageTextEncoder(str(tmp_path), device='cpu')
    with pytest.raises(FileNotFoundError, match='leave --offline out'):
        fetch('google/no-such-model', offline=True)
    with pytest.raises(FileNotFoundError, match='OWNER/MODEL'):
        fetch('no_such_folder')


def test_what_is_no_model_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / 'broken'
    shutil.copytree(folder, broken)
    (broken / 'model.safetensors').write_bytes(b'x' * 100)
    (tmp_path / 'films').mkdir()
    for path in (broken, tmp_path / 'films'):
        with pytest.raises(ValueError, match=f'{path} cannot be loaded as an image-text model'):
            ImageTextEncoder(str(path), device='cpu')


def test_an_error_without_a_text_is_named() -> None:
    named = pytest.raises(ValueError, match=r'x cannot be loaded as a tokenizer \(RuntimeError\)')
    with named, loading('x', 'a tokenizer'):
        raise RuntimeError


@pytest.mark.parametrize('device', ['foo', 'cuda:99', 'cpu:x'])
def test_a_device_that_is_not_there_is_named(folder: Path, device: str) -> None:
    with pytest.raises(ValueError, match=f'there is no device {device}; allowed: cpu'):
        ImageTextEncoder(str(folder), device)


def test_a_download_is_announced() -> None:
    files = [('model.safetensors', 300), ('pytorch_model.bin', 999), ('config.json', 5)]
    info = SimpleNamespace(
        id='openai/clip-vit-base-patch32',
        card_data=None,
        siblings=[SimpleNamespace(rfilename=name, size=size * 10**6) for name, size in files],
    )
    notice = download_notice(info)
    assert 'https://huggingface.co/openai/clip-vit-base-patch32' in notice
    assert '305 MB' in notice
    assert 'MIT' in notice
