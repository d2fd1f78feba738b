"""Image-text models of Hugging Face (CLIP, SigLIP, SigLIP 2, ...): pictures and sentences alike."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.device import choose_device
from demul_mm.hub import fetch, loading
from demul_mm.packed_linear import pack_linear
from demul_mm.precision import autocast, check_precision
from demul_mm.truncation import longer_than, warn_cut
from demul_mm.zero_shot.encoders import DEFAULT_ENCODER


class ImageTextEncoder:
    """Encodes pictures and sentences into one space, with the model's own preparation of both.

    Pictures go through the model's own image processor as they are, and sentences through its own
    tokenizer, padded as the model was trained.

    Args:
        name: folder, or name on huggingface.co, of a model with image and text features.
        device: where it runs; None: a GPU where there is one.
        offline: never download; otherwise what is downloaded is logged first.
        batch: pictures or sentences encoded at once.
        dtype: the precision in which it runs (see :mod:`demul_mm.precision`).

    Raises:
        FileNotFoundError: there is no such folder, and no downloaded model of that name.
        ValueError: it is no image-text model, or there is no such device.
    """

    def __init__(
        self,
        name: str,
        device: str | torch.device | None = None,
        offline: bool = False,
        batch: int = 16,
        dtype: str = 'auto',
    ) -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        self.device = choose_device(device)
        folder = fetch(name, offline)
        self.name, self.batch, self.dtype = name, batch, check_precision(dtype)
        local: dict[str, Any] = dict(local_files_only=True, trust_remote_code=False)
        kind = f'an image-text model, as {DEFAULT_ENCODER} is'
        with loading(name, kind):
            model = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        if not (hasattr(model, 'get_image_features') and hasattr(model, 'get_text_features')):
            raise ValueError(
                f'{name} is a {type(model).__name__}, which has no image and text features; give '
                f'an image-text model, for example {DEFAULT_ENCODER}'
            )
        self.model = pack_linear(model.to(self.device).eval())
        with loading(name, kind):
            self.image_processor = AutoImageProcessor.from_pretrained(folder, **local)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        self.dim = self.encode_texts(['a']).shape[1]

    @property
    def fingerprint(self) -> str:
        """A hash of the weights and of how pictures are prepared."""
        digest = hashlib.sha256(self.image_processor.to_json_string().encode())
        for key, tensor in sorted(self.model.state_dict().items()):
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(key.encode() + plain.view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def encode_images(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Unit vectors ``(n, S)`` float32 of pictures ``(H, W, 3)`` uint8 RGB."""
        parts = []
        for first in range(0, len(pictures), self.batch):
            chunk = [np.asarray(picture) for picture in pictures[first : first + self.batch]]
            inputs = self.image_processor(
                chunk, return_tensors='pt', input_data_format='channels_last'
            )
            parts.append(self._features(self.model.get_image_features, inputs))
        return np.concatenate(parts)

    def encode_texts(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors ``(n, S)`` float32 of sentences; what is too long is cut, and told."""
        warn_cut(self, sentences, 'queries')
        # SigLIP has no mask: it was trained on sentences of one length.
        padding = 'max_length' if 'siglip' in self.model.config.model_type else True
        parts = []
        for first in range(0, len(sentences), self.batch):
            inputs = self.tokenizer(
                list(sentences[first : first + self.batch]),
                padding=padding,
                truncation=True,
                max_length=self.max_length,
                return_tensors='pt',
            )
            inputs.pop('token_type_ids', None)
            if padding == 'max_length':
                inputs.pop('attention_mask', None)
            parts.append(self._features(self.model.get_text_features, inputs))
        return np.concatenate(parts)

    @property
    def max_length(self) -> int:
        """Tokens that are read of a sentence."""
        return self.model.config.text_config.max_position_embeddings

    def cut(self, sentences: Sequence[str]) -> list[str]:
        """Those of the sentences whose ends are not read."""
        return longer_than(self.max_length, sentences, self.tokenizer)

    @torch.inference_mode()
    def _features(self, encode: Any, inputs: Mapping[str, Tensor]) -> np.ndarray:
        with autocast(self.dtype, self.device):
            found = encode(**{key: value.to(self.device) for key, value in inputs.items()})
        features = getattr(found, 'pooler_output', found)
        return F.normalize(features.float(), dim=-1).cpu().numpy()
