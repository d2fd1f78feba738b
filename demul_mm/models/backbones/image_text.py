"""Image-text models of Hugging Face (CLIP, SigLIP, ...) as encoders of single frames."""

from torch import Tensor, nn

from demul_mm.hub import loading
from demul_mm.registry import MODELS


@MODELS.register_module()
class TransformersImageEncoder(nn.Module):
    """The image side of an image-text model, for ``FrameEncoder(per_frame=True)``.

    Frames must have the size that the model was trained with, and ``FrameEncoder``'s ``mean`` and
    ``std`` its normalisation (255 times those of its image processor).

    Args:
        name: folder or hub name of a model that has ``get_image_features``.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoModel

        super().__init__()
        with loading(name, 'an image-text model'):
            model = AutoModel.from_pretrained(name, trust_remote_code=False)
        if not hasattr(model, 'get_image_features'):
            raise ValueError(
                f'{name} is a {type(model).__name__}, which has no get_image_features; '
                'give an image-text model such as CLIP or SigLIP'
            )
        for part in ('text_model', 'text_projection'):
            if hasattr(model, part):
                delattr(model, part)  # only images pass through here
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised frames to ``(B, d)``."""
        features = self.model.get_image_features(pixel_values=images)
        return getattr(features, 'pooler_output', features)
