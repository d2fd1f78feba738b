"""The language encoder and the pre-trained models behind it."""

import copy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from torch import Tensor
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel
from transformers.utils import logging

from demul_mm.models.backbones import LanguageEncoder, TransformersLM
from demul_mm.models.backbones.language_model import TokenCache
from demul_mm.models.losses import phrase_overlap
from demul_mm.registry import MODELS
from tests.models.tiny import DIM, TOKENS, TinyTokenizer
from tests.warm import run_ranks

LAYERS = 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of 3 layers and width 64, saved as transformers saves it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('bert')
    config = BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(path)
    return str(path)


def frozen(folder: str, **options: object) -> TransformersLM:
    """A frozen model as a new process has it: no other has filled its cache."""
    TokenCache.known.clear()
    return TransformersLM(folder, **{'dtype': 'float32', **options})


def sentences(number: int, length: int = 9) -> tuple[Tensor, Tensor]:
    """Random ids; sentence ``i`` is ``length - i % 4`` words long."""
    ids = torch.randint(1, 50, (number, length), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(length)[None] < length - torch.arange(number)[:, None] % 4
    return ids * mask, mask


class Calls:
    """Counts the sentences that a frozen model really runs on."""

    def __init__(self, lm: TransformersLM) -> None:
        self.rows = 0
        lm._hidden[0].register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs) -> None:
        self.rows += sum(len(group.place) for group in kwargs['groups'])


# -- frozen --------------------------------------------------------------------------------------


def test_cached_features_are_those_of_the_model(folder: str):
    lm, plain = frozen(folder), frozen(folder, cache_mb=0)
    ids, mask = sentences(6)
    expected = plain._hidden[0](input_ids=ids, attention_mask=mask.long()).last_hidden_state
    for _ in range(3):
        cached, fresh = lm(ids, mask), plain(ids, mask)
        assert torch.equal(cached, fresh)
        assert cached.dtype == torch.float32
        # Kept in float16.
        torch.testing.assert_close(cached[mask], expected[mask], rtol=1e-3, atol=1e-3)
        assert not cached[~mask].any()


def test_a_sentence_runs_once_whatever_it_is_padded_to(folder: str):
    lm = frozen(folder)
    calls = Calls(lm)
    ids, mask = sentences(4)
    first = lm(ids, mask)
    assert calls.rows == 4
    pad = torch.nn.functional.pad
    again = lm(pad(ids, (0, 5)), pad(mask, (0, 5)))
    assert calls.rows == 4
    assert torch.equal(again[:, :9], first)
    more, more_mask = sentences(6)
    lm(torch.cat([more, more]), torch.cat([more_mask, more_mask]))
    assert calls.rows == 6  # two new ones, once each


def test_a_sentence_is_the_same_to_the_last_bit_in_any_company(folder: str):
    """Else a resumed run, whose cache starts empty, would not be the run that was interrupted."""
    ids, mask = sentences(21)
    together = frozen(folder)(ids, mask)
    for company in ([3], [20, 3, 7], list(range(11))):
        found = frozen(folder)(ids[company], mask[company])
        assert torch.equal(found, together[company])


def test_sentences_read_ahead_do_not_run_again(folder: str):
    lm = frozen(folder)
    expected = lm(*sentences(6))
    lm = frozen(folder)
    calls = Calls(lm)
    lm.read_ahead(*sentences(6))
    lm.read_ahead(*sentences(4))
    assert calls.rows == 6
    assert torch.equal(lm(*sentences(6)), expected)
    assert calls.rows == 6


def test_no_more_is_read_ahead_than_the_cache_holds(folder: str):
    lm = frozen(folder, cache_mb=1)
    calls = Calls(lm)
    lm.read_ahead(*sentences(160, length=60))
    size = sum(rows.nbytes for rows in lm._cache.values())
    assert 0.95 * 2**20 < size <= 2**20
    assert calls.rows == len(lm._cache) < 160


def _read_share(rank: int, folder: str, out: str, known: int) -> None:
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{out}/rendezvous',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    lm = frozen(folder)
    if known and rank == 1:
        lm(*sentences(known))
    calls = Calls(lm)
    lm.read_ahead(*sentences(7))
    features = lm(*sentences(7))
    assert lm._cache.num_bytes == sum(row.nbytes for row in lm._cache.values())
    torch.save((calls.rows, features), f'{out}/{rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('known', [0, 3])
def test_each_process_reads_a_share_and_knows_all(folder: str, tmp_path: Path, known: int):
    """Whatever one of them has read alone before."""
    run_ranks(_read_share, folder, str(tmp_path), known)
    found = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    assert sorted(count for count, _ in found) == [3, 4]
    for _, features in found:
        assert torch.equal(features, frozen(folder)(*sentences(7)))


def test_without_a_cache_every_sentence_runs_each_time(folder: str):
    lm = frozen(folder, cache_mb=0)
    calls = Calls(lm)
    for _ in range(3):
        lm(*sentences(4))
    assert calls.rows == 12


def test_the_cache_keeps_to_its_limit_and_says_so_once(folder: str, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', warnings.append)
    lm = frozen(folder, cache_mb=1)
    ids, mask = sentences(160, length=60)
    before = [lm(ids[i : i + 40], mask[i : i + 40]) for i in range(0, 160, 40)]
    size = sum(rows.nbytes for rows in lm._cache.values())
    assert 0.95 * 2**20 < size <= 2**20
    assert len(lm._cache) < 160
    assert len(warnings) == 1
    assert 'raise cache_mb' in warnings[0]
    after = torch.cat([lm(ids[i : i + 40], mask[i : i + 40]) for i in range(0, 160, 40)])
    torch.testing.assert_close(after, torch.cat(before), rtol=2e-3, atol=2e-3)


def test_a_frozen_model_is_no_part_of_the_weights(folder: str):
    lm = frozen(folder)
    assert not list(lm.parameters())
    assert list(lm.state_dict()) == ['identity']
    features = lm(*sentences(3))
    assert not features.requires_grad
    # Nor has training mode, with its dropout, or autocasting a say.
    other = frozen(folder).train()
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(other(*sentences(3)), features)
    assert copy.deepcopy(lm)._hidden[0] is lm._hidden[0]


def test_models_of_one_process_share_what_they_computed(folder: str):
    first, second = frozen(folder), TransformersLM(folder, dtype='float32')
    calls = Calls(second)
    assert torch.equal(first(*sentences(4)), second(*sentences(4)))
    assert calls.rows == 0
    other = TransformersLM(folder, dtype='bfloat16')
    calls = Calls(other)
    other(*sentences(4))
    assert calls.rows == 4


def test_bfloat16_features_are_close(folder: str):
    exact, rounded = frozen(folder)(*sentences(6)), frozen(folder, dtype='bfloat16')(*sentences(6))
    assert rounded.dtype == torch.float32
    mask = sentences(6)[1]
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=-1)[mask].min() > 0.999
    with pytest.raises(ValueError, match='allowed: auto, float32, bfloat16, float16'):
        TransformersLM(folder, dtype='half')
    with pytest.raises(ValueError, match='float16 needs a GPU'):
        frozen(folder, dtype='float16')(*sentences(1))


def test_weights_trained_with_another_model_are_refused(folder: str, tmp_path: Path):
    torch.manual_seed(1)
    other = BertModel.from_pretrained(folder)
    other.encoder.layer[-1].output.dense.bias.data[0] += 1e-3
    other.save_pretrained(tmp_path)
    weights = frozen(folder).state_dict()
    frozen(folder).load_state_dict(weights)
    for name in (str(tmp_path), 'minilm'):
        with pytest.raises(ValueError, match='trained with another language model than'):
            frozen(name).load_state_dict(weights)
    # Those of the packaged one, or from before this was told, do not say.
    assert not frozen('minilm').state_dict()
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
        frozen(folder).load_state_dict({})
    assert 'do not tell which language model' in said[0]


def test_a_model_that_is_stored_in_bfloat16_is_known_by_its_weights(folder: str, tmp_path: Path):
    BertModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(tmp_path)
    lm = frozen(str(tmp_path))
    frozen(str(tmp_path)).load_state_dict(lm.state_dict())
    with pytest.raises(ValueError, match='trained with another language model than'):
        frozen(folder).load_state_dict(lm.state_dict())


@pytest.mark.parametrize('tune', ['none', 'all'])
def test_layers_stand_side_by_side(folder: str, tune: str):
    lm = frozen(folder, layers=(0, -1), tune=tune).eval()
    assert (lm.out_dim, lm.meaning_dim) == (128, 64)
    ids, mask = sentences(5)
    found = lm(ids, mask)
    last = frozen(folder, tune=tune).eval()(ids, mask)
    torch.testing.assert_close(found[..., 64:][mask], last[mask], rtol=2e-3, atol=2e-3)
    # The first layer knows a word by itself and its place alone.
    other = ids.clone()
    other[:, 1:] = other[:, 1:] % 49 + 1
    changed = lm(other, mask)
    torch.testing.assert_close(changed[:, 0, :64], found[:, 0, :64], rtol=2e-3, atol=2e-3)
    assert (changed[:, 0, 64:] - found[:, 0, 64:]).abs().max() > 1e-2


def test_meaning_is_that_of_the_last_layer(folder: str):
    TokenCache.known.clear()
    lm = dict(type='TransformersLM', name=folder)
    one = LanguageEncoder(lm, dim=DIM)
    two = LanguageEncoder({**lm, 'layers': (0, -1)}, dim=DIM)
    ids, mask = sentences(5)
    torch.testing.assert_close(one(ids, mask).meaning, two(ids, mask).meaning, rtol=1e-3, atol=1e-3)


# -- tuned ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('tune', [1, 2, 3])
def test_the_last_layers_alone_are_tuned(folder: str, tune: int):
    lm = TransformersLM(folder, tune=tune).train()
    lm(*sentences(3)).square().sum().backward()
    last = tuple(f'lm.encoder.layer.{i}.' for i in range(LAYERS - tune, LAYERS))
    for name, parameter in lm.named_parameters():
        assert parameter.requires_grad == name.startswith(last), name
        assert (parameter.grad is not None) == name.startswith(last), name
    assert any(name.startswith(last) for name in lm.state_dict())


def test_all_of_it_is_tuned(folder: str):
    lm = TransformersLM(folder, tune='all')
    lm(*sentences(3)).square().sum().backward()
    assert all(p.grad is not None for p in lm.parameters())


def test_tuned_and_frozen_models_start_alike(folder: str):
    ids, mask = sentences(5)
    with torch.no_grad():
        tuned = TransformersLM(folder, tune=2).eval()(ids, mask)
    frozen = TransformersLM(folder, dtype='float32')(ids, mask)  # a tuned one has autocast
    torch.testing.assert_close(frozen[mask], tuned[mask], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('layers', [(0, 2), (1,), (0,)])
def test_layers_that_nobody_reads_are_not_run(folder: str, layers: tuple[int, ...]):
    ids, mask = sentences(5)
    lm = TransformersLM(folder, layers=layers, dtype='float32')
    assert len(lm._hidden[0].encoder.layer) == max(1, *layers)
    whole = TransformersLM(folder, layers=(*layers, -1), dtype='float32')(ids, mask)
    assert torch.equal(lm(ids, mask), whole[..., : lm.out_dim])


@pytest.mark.parametrize('tune', ['some', -1, 4, True, 1.5])
def test_wrong_tuning_is_refused(folder: str, tune):
    with pytest.raises(ValueError, match=r"allowed: 'none', 'all' or a number .* 0 to 3"):
        TransformersLM(folder, tune=tune)


@pytest.mark.parametrize('tune', ['none', 1])
def test_other_architectures_serve_as_well(tmp_path: Path, tune):
    """DistilBERT has no pooler and another name for its layers."""
    config = DistilBertConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=16, max_position_embeddings=64
    )
    DistilBertModel(config).save_pretrained(tmp_path)
    lm = TransformersLM(str(tmp_path), tune=tune)
    assert lm(*sentences(3)).shape == (3, 9, 16)
    tuned = [name for name, p in lm.named_parameters() if p.requires_grad]
    assert all('layer.1.' in name for name in tuned)
    assert bool(tuned) == (tune == 1)


def test_the_packaged_model_knows_what_resembles_what():
    """all-MiniLM-L6-v2, offline, and its tokenizer."""
    encoder = MODELS.build(
        dict(type='LanguageEncoder', lm=dict(type='TransformersLM', name='minilm'), dim=DIM)
    ).eval()
    tokenizer = dict(type='TransformersTokenizer', name='minilm')
    preprocessor = MODELS.build(dict(type='MomentDataPreprocessor', tokenizer=tokenizer))
    texts = ['a man rides a bicycle', 'somebody is cycling', 'a woman bakes a cake']
    with torch.no_grad():
        meaning = encoder(*preprocessor.tokenize(texts))[-1]
    likeness = meaning @ meaning.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
    assert encoder.lm.out_dim == 384


# -- the hierarchy -------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def encoder() -> LanguageEncoder:
    torch.manual_seed(0)
    return LanguageEncoder(dict(type='TinyTokens'), dim=8, num_phrases=3).eval()


def test_phrases_attend_to_the_words_of_their_sentence(encoder: LanguageEncoder):
    ids, mask = TinyTokenizer()(['the red disc', 'it spins', 'one two three four five'])
    words, _, phrases, sentence, attention, meaning = encoder(ids, mask)
    assert (words.shape, phrases.shape, sentence.shape) == ((3, 5, 8), (3, 3, 8), (3, 8))
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 3))
    assert not attention.transpose(1, 2)[~mask].any()
    assert meaning.shape == (3, TOKENS)
    assert not meaning.requires_grad


def test_order_of_the_words_matters(encoder: LanguageEncoder):
    one = encoder(*TinyTokenizer()(['the disc meets the cube']))
    two = encoder(*TinyTokenizer()(['the cube meets the disc']))
    assert (one.sentence - two.sentence).abs().max() > 1e-4
    torch.testing.assert_close(one.meaning, two.meaning)  # their meaning is a bag of words


def test_words_are_dropped_in_training_alone_and_never_the_first() -> None:
    torch.manual_seed(0)
    encoder = LanguageEncoder(dict(type='TinyTokens'), dim=8, dropout=0.0, word_drop=0.5)
    ids, mask = TinyTokenizer()(['one two three four five'] * 40)
    dropped = encoder.train()(ids, mask)
    assert dropped.word_mask[:, 0].all()
    assert 0.35 < float(dropped.word_mask[:, 1:].float().mean()) < 0.65
    assert not dropped.words[~dropped.word_mask].any()
    assert not dropped.phrase_attention.transpose(1, 2)[~dropped.word_mask].any()
    whole = encoder.eval()(ids, mask)
    assert torch.equal(whole.word_mask, mask)
    torch.testing.assert_close(dropped.meaning, whole.meaning)


def test_orthogonality_by_hand():
    apart = torch.tensor([[[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]])
    assert phrase_overlap(apart).item() == pytest.approx(0, abs=1e-12)
    same = torch.full((2, 3, 4), 0.25)
    assert phrase_overlap(same).item() == pytest.approx(6 / 9)
    # Two of four words in common: a cosine of a half, in two of four entries of the matrix.
    half = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]])
    assert phrase_overlap(half).item() == pytest.approx(2 * 0.25 / 4)


def test_an_even_ngram_has_no_middle():
    with pytest.raises(ValueError, match=r'ngrams are \(1, 2\); .* odd'):
        LanguageEncoder(dict(type='TinyTokens'), ngrams=(1, 2))


def test_there_is_a_phrase_at_least():
    with pytest.raises(ValueError, match='num_phrases is 0; it must be at least 1'):
        LanguageEncoder(dict(type='TinyTokens'), num_phrases=0)


def test_progress_bars_stay_as_they_were() -> None:
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        MODELS.build(dict(type='TransformersLM', tune='none'))
        assert not logging.is_progress_bar_enabled()
    finally:
        if before:
            logging.enable_progress_bar()
