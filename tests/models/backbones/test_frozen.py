"""Sentences side by side in blocks of tokens."""

import random

import pytest
import torch
from transformers import BertConfig, BertModel

from demul_mm.models.backbones.frozen import BLOCK, pack, read_frozen


@pytest.mark.parametrize('size', [16, 128])
def test_every_sentence_has_one_place_and_no_block_overflows(size: int):
    lengths = random.Random(0).choices(range(1, 40), k=200)
    blocks = list(pack(lengths, size))
    assert sorted(i for block in blocks for i in block) == list(range(200))
    for block in blocks:
        assert sum(lengths[i] for i in block) <= size or len(block) == 1
    if size > 39:
        assert len(blocks) <= 1.05 * sum(lengths) / size + 1


def test_features_are_those_of_the_sentence_alone_whatever_its_length():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=2 * BLOCK,
    )
    lm = BertModel(config).eval()
    sentences = [torch.randint(1, 50, (n,)) for n in (3, 8, 9, 130, 40, 1, 128, 60, 60)]
    with torch.no_grad():
        found = dict(read_frozen(lm, sentences, (0, -1), torch.device('cpu')))
        for i, ids in enumerate(sentences):
            alone = lm(input_ids=ids[None], output_hidden_states=True).hidden_states
            expected = torch.cat([alone[0], alone[-1]], -1)[0]
            torch.testing.assert_close(found[i], expected, rtol=1e-5, atol=1e-5)
