"""An image-text model encodes frames one by one."""

import pytest
import torch
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel

from demul_mm.models.backbones import FrameEncoder

TINY = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)


@pytest.fixture(scope='module')
def clip_folder(tmp_path_factory):
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=dict(**TINY, vocab_size=20, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        vision_config=dict(**TINY, image_size=16, patch_size=8),
        projection_dim=12,
    )
    folder = tmp_path_factory.mktemp('clip')
    CLIPModel(config).save_pretrained(folder)
    return str(folder)


def test_a_clip_is_the_mean_of_its_frames(clip_folder):
    encoder = FrameEncoder(
        dict(type='TransformersImageEncoder', name=clip_folder), per_frame=True, frozen=True
    ).eval()
    clips = torch.randint(0, 256, (3, 3, 2, 16, 16), dtype=torch.uint8)
    whole = encoder([clips])[0]
    frames = encoder([clips.transpose(1, 2).flatten(0, 1)[:, :, None]])[0]
    assert whole.shape == (3, 12)
    torch.testing.assert_close(whole, frames.view(3, 2, 12).mean(1))
    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = (clips[0, :, 0].float() - encoder.mean[0, :, 0]) / encoder.std[0, :, 0]
    expected = model.get_image_features(pixel_values=pixels[None])
    expected = getattr(expected, 'pooler_output', expected)
    torch.testing.assert_close(frames[:1], expected.detach())


def test_a_text_model_is_refused(tmp_path):
    config = BertConfig(**TINY, vocab_size=20)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='no get_image_features'):
        FrameEncoder(dict(type='TransformersImageEncoder', name=str(tmp_path)), per_frame=True)
