"""Word vectors: those of a file, and learned ones for the words it lacks."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demul_mm.models.backbones import LanguageEncoder, WordVectors
from demul_mm.models.backbones.word_vectors import (
    even_out,
    read_word_vectors,
    write_word_vectors,
)
from demul_mm.models.task_modules import WordTokenizer
from tests.models.tiny import SENTENCES, losses_of, tiny_data, tiny_model

WORDS = ['the', 'a', 'disc', 'red', 'square', 'spins', 'camera', 'Disc', 'new york']
TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'data' / 'pack_word_vectors.py'


def write_text(path: Path, dim: int = 6, header: bool = False, words: list[str] = WORDS) -> str:
    rng = np.random.default_rng(0)
    lines = [f'{len(words)} {dim}'] * header
    lines += [' '.join([w, *(f'{v:.4f}' for v in rng.normal(size=dim) + 1)]) for w in words]
    path.write_text('\n'.join(lines) + '\n')
    return str(path)


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_text(tmp_path / 'glove.txt')


def features(model: WordVectors, sentence: str) -> torch.Tensor:
    return model(*WordTokenizer()([sentence]))[0]


@pytest.mark.parametrize('packed', [False, True])
def test_known_words_have_the_vectors_of_the_file(text: str, tmp_path: Path, packed: bool):
    path = text
    if packed:
        path = str(tmp_path / 'glove.safetensors')
        write_word_vectors(path, *read_word_vectors(text))
    rows = {line.split()[0]: line.split()[1:] for line in Path(text).read_text().splitlines()}
    kept = [w for w in WORDS if w != 'Disc']
    raw = np.array([rows[w.split()[0]][-6:] for w in kept], dtype=np.float32)
    wanted = even_out(torch.from_numpy(raw))
    model = WordVectors(path, dim=6)
    found = features(model, 'The red DISC spins')
    expected = wanted[[kept.index(w) for w in ('the', 'red', 'disc', 'spins')]]
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-3)


def test_other_words_have_vectors_of_their_own(text: str):
    for model in (WordVectors(text, dim=6), WordVectors(dim=6)):
        found = features(model, 'zebra yak zebra gnu')
        assert torch.equal(found[0], found[2])
        assert not torch.allclose(found[0], found[1])
        assert not torch.allclose(found[1], found[3])
        again = features(model, 'gnu')
        assert torch.equal(again[0], found[3])
    words = [f'w{number}' for number in range(3000)]
    ids, mask = WordTokenizer(max_length=4000)([' '.join(words)])
    rows = WordVectors(dim=4, num_hashed=1024)(ids, mask)[0]
    assert len({tuple(row.tolist()) for row in rows}) >= 2980  # one hash: 970


def test_padding_is_zero_and_changes_nothing(text: str):
    model = WordVectors(text, dim=6)
    ids, mask = WordTokenizer()(['the unheard disc', 'red'])
    both = model(ids, mask)
    assert not both[1, 1:].any()
    assert torch.equal(both[1, :1], features(model, 'red'))


@pytest.mark.parametrize('tune', [False, True])
def test_what_is_trained_is_what_the_checkpoint_holds(text: str, tune: bool):
    model = WordVectors(text, dim=6, tune=tune, num_hashed=16)
    features(model, 'the unheard disc').square().sum().backward()
    names = {'hashed', 'vectors'} if tune else {'hashed'}
    assert {name for name, p in model.named_parameters()} == names == set(model.state_dict())
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    features(model, 'the disc').sum().backward()  # without any unknown word
    assert model.hashed.grad is not None
    assert not model.hashed.grad.any()
    fresh = WordVectors(text, dim=6, tune=tune, num_hashed=16)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(features(fresh, 'a new disc'), features(model, 'a new disc'))


def test_evened_out_vectors_tell_sentences_apart():
    """Raw vectors with a common part make all sentences alike; rarer words count for more."""
    rng = torch.Generator().manual_seed(0)
    strong = 5 * torch.randn(200, generator=rng)  # one direction in which all words differ most
    raw = torch.randn(400, 200, generator=rng) + 3
    raw += torch.randn(400, 1, generator=rng) * strong
    vectors = even_out(raw)
    assert vectors.shape == raw.shape
    unit = strong / strong.norm()
    assert (vectors[100:] @ unit).std() < 0.1 * ((raw - raw.mean(0)) @ unit).std()
    assert vectors.norm(dim=1)[:3].max() < vectors.norm(dim=1)[300:].min()
    sentences = torch.randint(0, 400, (50, 8), generator=rng)
    similar = [torch.nn.functional.normalize(v[sentences].mean(1), dim=-1) for v in (raw, vectors)]
    off = ~torch.eye(50, dtype=torch.bool)
    raw_mean, mean = ((s @ s.T)[off].mean() for s in similar)
    assert raw_mean > 0.3
    assert abs(mean) < 0.1
    torch.testing.assert_close(vectors, even_out(raw))


def test_other_forms_of_text(tmp_path: Path):
    plain = read_word_vectors(write_text(tmp_path / 'a.txt'))
    headed = read_word_vectors(write_text(tmp_path / 'b.vec', header=True))
    for one, two in zip(plain, headed):
        assert torch.equal(one, two)
    ids, vectors = plain
    assert len(ids) == len(WORDS) - 1  # 'Disc' is 'disc'
    assert bool((ids.diff() > 0).all())
    assert vectors.dtype == torch.float16
    assert len(read_word_vectors(str(tmp_path / 'a.txt'), max_words=3)[0]) == 3


def test_mistakes_are_named(tmp_path: Path, text: str):
    with pytest.raises(FileNotFoundError, match=r'no file of word vectors .*glove.6B.zip'):
        WordVectors(str(tmp_path / 'none.txt'))
    with pytest.raises(ValueError, match='vectors of 6 values, the config says dim=300'):
        WordVectors(text)
    torn = tmp_path / 'torn.txt'
    torn.write_text('the 1 2 3\nof 1 2 x\n')
    with pytest.raises(ValueError, match='line 2 is no word vector'):
        WordVectors(str(torn), dim=3)
    torn.write_text('the 1 2 3\nof 1 2\n')
    with pytest.raises(ValueError, match='line 2 has 2 numbers, the first word has 3'):
        WordVectors(str(torn), dim=3)
    torn.write_text('')
    with pytest.raises(ValueError, match='holds no word vector'):
        WordVectors(str(torn), dim=3)
    from safetensors.torch import save_file

    other = tmp_path / 'other.safetensors'
    save_file({'x': torch.zeros(1)}, other)
    with pytest.raises(ValueError, match='something else than word vectors'):
        WordVectors(str(other))
    other.write_bytes(b'12345')
    with pytest.raises(ValueError, match='is damaged'):
        WordVectors(str(other))
    with pytest.raises(ValueError, match='num_hashed=0'):
        WordVectors(dim=3, num_hashed=0)


@pytest.mark.parametrize('with_file', [False, True])
def test_a_whole_model_learns_from_words(text: str, with_file: bool):
    lm = dict(type='WordVectors', path=text if with_file else None, dim=6, num_hashed=64)
    model = tiny_model(
        data_preprocessor=dict(tokenizer=dict(type='WordTokenizer')),
        language=dict(lm=lm),
        memory=dict(caption_dim=6),
    )
    losses = losses_of(model, tiny_data())
    sum(losses.values()).backward()
    assert isinstance(model.language, LanguageEncoder)
    assert model.language.lm.hashed.grad.abs().sum() > 0
    one, two = model.encode_query(list(SENTENCES[:2])), model.encode_query([SENTENCES[0]])
    torch.testing.assert_close(one.shared[:1], two.shared, rtol=1e-5, atol=1e-5)


def test_the_tool_packs(text: str, tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / 'folder' / 'glove.safetensors'
    monkeypatch.setattr(sys, 'argv', ['pack', text, str(out), '--words', '5'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert not stop.value.code
    assert '5 words, 6 values each' in capsys.readouterr().out
    for one, two in zip(read_word_vectors(str(out)), read_word_vectors(text, 5)):
        assert torch.equal(one, two)
    for wrong in (['--words', '0'], ['--help']):
        monkeypatch.setattr(sys, 'argv', ['pack', text, str(out), *wrong])
        with pytest.raises(SystemExit):
            runpy.run_path(str(TOOL), run_name='__main__')
    assert 'python tools/data/pack_word_vectors.py' in capsys.readouterr().out
