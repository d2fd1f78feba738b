"""The models that a library can have: image-text models, and trained DeMULs."""

import os
from typing import Any

from demul_mm.apis.published import is_published
from demul_mm.hub import fetch
from demul_mm.zero_shot.encoders import DEFAULT_ENCODER


def load_encoder(name: str | None, device: str | None = None, offline: bool = False) -> Any:
    """A model by what it is called, as :class:`~demul_mm.app.library.Library` takes it.

    Args:
        name: folder or name on huggingface.co of an image-text model or a published DeMUL; or a
            config file and its weights, with ``os.pathsep`` between them; None: the default.
        device: where it runs; None: a GPU where there is one.
        offline: never download; otherwise what is downloaded is logged first.

    Raises:
        FileNotFoundError: it is not at hand and cannot be downloaded.
        ValueError: it is no model for a library.
    """
    name = name or DEFAULT_ENCODER
    if os.path.isfile(name):
        raise ValueError(
            f'{name} is a file: give its weights too, --model CONFIG --weights WEIGHTS'
        )
    if os.pathsep in name or is_published(fetch(name, offline)):
        from demul_mm.app.trained import TrainedModel

        return TrainedModel(name, device, offline)
    from demul_mm.zero_shot.image_text import ImageTextEncoder

    return ImageTextEncoder(name, device, offline)
