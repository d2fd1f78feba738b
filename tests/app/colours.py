"""A small DeMUL that was trained to find colours, as files that a user has."""

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from demul_mm.registry import MODELS
from demul_mm.structures import MomentDataSample
from tests.app.films import COLOURS
from tests.models.tiny import FEATURES, tiny_config, tiny_model, train_steps

CLIPS = dict(clip_seconds=0.5, frames_per_clip=2, size=16)
CONFIG = """
custom_imports = dict(imports=['tests.models.tiny', 'tests.app.colours'])
model = {model!r}
longest_seconds = {longest!r}
extractor = dict(checkpoint={backbone!r})
test_dataloader = dict(dataset=dict(
    features=dict(visual=dict(type='FolderStore', path='features', dim={dim})),
    pipeline=[dict(type='LoadVideoFeature'), dict(type='PackMomentInputs')]))
"""


@MODELS.register_module(force=True)
class ColourEye(nn.Module):
    """``(B, 3, t, H, W)`` to ``(B, 12)``: four trained mixtures of each mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.linspace(-1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.float().mean((2, 3, 4)) - 80)[..., None] * self.mix).flatten(1) / 64


def colour_films(number: int = 12) -> dict:
    """Films of six colours for three seconds each, with a sentence for each that comes once."""
    draw, eye = random.Random(0), ColourEye()
    inputs, samples = [], []
    for _ in range(number):
        colours = draw.sample(['red', 'green', 'blue', 'black', 'black', 'black'], 6)
        frames = torch.tensor([COLOURS[c] for c in colours for _ in range(6)])
        with torch.no_grad():
            inputs.append(eye(frames[:, :, None, None, None].expand(-1, -1, 1, 2, 2)))
        sample = MomentDataSample()
        sample.set_metainfo(dict(video_id='film', duration=3.0 * len(colours)))
        sample.queries = [f'something {c}' for c in colours if c != 'black']
        starts = [3.0 * i for i, c in enumerate(colours) if c != 'black']
        sample.gt_spans = [torch.tensor([[start, start + 3.0]]) for start in starts]
        samples.append(sample)
    return dict(inputs=dict(visual=inputs), data_samples=samples)


def save_colour_model(folder: Path, steps: int = 60, longest: float | None = None) -> Path:
    """Write ``config.py``, ``weights.pth`` and ``backbone.pth`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model()
    train_steps(model, colour_films(), steps)
    model.calibrator.scale.fill_(1.0)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    meta = dict(backbone=dict(type='ColourEye'), clips=CLIPS)
    torch.save(dict(state_dict=ColourEye().state_dict(), meta=meta), folder / 'backbone.pth')
    text = CONFIG.format(
        model=tiny_config(), longest=longest, backbone=str(folder / 'backbone.pth'), dim=FEATURES
    )
    (folder / 'config.py').write_text(text)
    return folder
