"""Image-text models with random weights, in folders as Hugging Face's hub has them."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

WORDS = ('<pad>', '<unk>', '</s>', 'a', 'red', 'blue', 'dog', 'square', 'leaves', 'the')
SIZE = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
TEXT = dict(
    SIZE,
    vocab_size=len(WORDS),
    pad_token_id=0,
    bos_token_id=2,
    eos_token_id=2,
    max_position_embeddings=12,
)
KINDS = ('clip', 'siglip', 'siglip2')


def save_encoder(folder: Path, kind: str = 'clip') -> Path:
    """Write a model of one of ``KINDS``, its image processor and its tokenizer."""
    torch.manual_seed(0)
    model: Any
    processor: Any
    if kind == 'clip':
        config = CLIPConfig(
            text_config=TEXT,
            vision_config=dict(SIZE, image_size=16, patch_size=8),
            projection_dim=12,
        )
        model = CLIPModel(config)
        processor = CLIPImageProcessorPil(size=dict(shortest_edge=16), crop_size=16)
    elif kind == 'siglip':
        vision = dict(SIZE, image_size=16, patch_size=8)
        text = dict(TEXT, projection_size=16)
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        processor = SiglipImageProcessorPil(size=dict(height=16, width=16))
    else:
        vision = dict(SIZE, patch_size=8, num_patches=16)
        text = dict(TEXT, projection_size=16)
        model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))
        processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    with torch.no_grad():
        for weight in model.parameters():  # the small initial ones would make all pictures alike
            weight.normal_(std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing('$A </s>', special_tokens=[('</s>', 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token='<pad>', unk_token='<unk>', eos_token='</s>'
    )
    tokenizer.save_pretrained(folder)
    return folder
