"""A Whisper that hears one sentence in whatever it is given, as faster-whisper loads it."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

SENTENCE = ('a', 'dog', 'leaves')
SPAN = (0.5, 2.0)
WORDS = ('<unk>', *SENTENCE, 'the', '<|endoftext|>', '<|startoftranscript|>', '<|translate|>')
WORDS += ('<|transcribe|>', '<|startoflm|>', '<|startofprev|>', '<|nospeech|>', '<|notimestamps|>')
WIDTH = 64


def save_speaker(folder: Path) -> Path:
    """Write the model for CTranslate2: each position of its answer says its word."""
    from ctranslate2.converters import TransformersConverter

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    source = folder.parent / f'{folder.name}_source'
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token='<unk>', eos_token='<|endoftext|>'
    ).save_pretrained(source)
    sizes = dict(encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8)
    heads = dict(encoder_attention_heads=1, decoder_attention_heads=1, d_model=WIDTH)
    end, start = WORDS.index('<|endoftext|>'), WORDS.index('<|startoftranscript|>')
    ids = dict(pad_token_id=end, bos_token_id=end, eos_token_id=end, decoder_start_token_id=start)
    tokens = len(WORDS) + 1501
    model = WhisperForConditionalGeneration(
        WhisperConfig(vocab_size=tokens, **sizes, **heads, **ids)
    )
    says = [len(WORDS) + round(SPAN[0] / 0.02), *map(WORDS.index, SENTENCE)]
    says += [len(WORDS) + round(SPAN[1] / 0.02)] * 2 + [end]
    with torch.no_grad():
        for name, weight in model.model.decoder.named_parameters():
            if 'norm' not in name:
                weight.zero_()
        embedding = model.model.decoder.embed_tokens.weight
        embedding.copy_(torch.nn.functional.normalize(torch.randn(tokens, WIDTH), dim=1))
        places = model.model.decoder.embed_positions.weight
        places[: len(says)] = 50 * embedding[says]
        places[len(says) :] = 50 * embedding[end]
        model.model.decoder.layer_norm.weight.fill_(10.0)
    model.generation_config.suppress_tokens = []
    model.generation_config.begin_suppress_tokens = []
    model.save_pretrained(source)
    TransformersConverter(str(source), copy_files=['tokenizer.json']).convert(str(folder))
    return folder
