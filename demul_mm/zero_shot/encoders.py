"""Image-text models to begin with."""

from typing import NamedTuple


class Recommended(NamedTuple):
    """An image-text model to begin with: what it costs and under which licence it stands.

    Attributes:
        name: on huggingface.co.
        licence: as its authors state it.
        dim: width of its vectors.
        parameters: millions, of both sides.
        side: pixels of an edge of the pictures it sees.
    """

    name: str
    licence: str
    dim: int
    parameters: int
    side: int


RECOMMENDED = (
    Recommended('google/siglip2-base-patch16-224', 'Apache-2.0', 768, 375, 224),
    Recommended('google/siglip2-so400m-patch14-384', 'Apache-2.0', 1152, 1136, 384),
    Recommended('google/siglip-base-patch16-224', 'Apache-2.0', 768, 203, 224),
    Recommended('openai/clip-vit-base-patch32', 'MIT', 512, 151, 224),
    Recommended('openai/clip-vit-large-patch14', 'MIT', 768, 428, 224),
)
DEFAULT_ENCODER = RECOMMENDED[0].name
