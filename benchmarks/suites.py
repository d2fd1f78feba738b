"""What the ablation benchmark trains: full models, their variants, seeds and sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ablations import ABLATIONS, SHORT_ONLY, TEXT_ONLY, WHOLE_ONLY, ablate
from mmengine.config import Config

from demul_mm.cli import load_config

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ('full', 'dual_encoder', 'plain_detector')
# Without what changes no ranking, and what applies to other recipes only.
RANKING = tuple(
    name for name in ABLATIONS if name not in ('no_calibration', *WHOLE_ONLY, *TEXT_ONLY)
)
# Not about what the method claims: on the rendered films alone.
FURTHER = ('adamw', 'hard_mining', 'sparse_map', 'two_stage')
MAIN = (*BASELINES[1:], 'no_fusion', 'words_only', 'no_private', 'cls_only', 'no_quality')
SIMULATED = {'features': str(ROOT / 'configs' / '_base_' / 'features' / 'simulated.py')}
# Trainings of a few minutes cannot overfit.
NO_DROPOUT = {
    f'model.{part}.dropout': 0.0
    for part in ('language', 'streams.visual', 'pyramid', 'decoupler', 'head')
}


class Length(NamedTuple):
    """How long a run trains: epochs, steps, or as many steps as fit into the seconds."""

    epochs: int | None = None
    seconds: float | None = None
    steps: int | None = None


class Variant(NamedTuple):
    """A config, changed for an ablation or not."""

    config: Path
    ablation: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder of results."""
        return '_'.join(filter(None, (self.config.stem, self.ablation)))

    def load(self, options: Mapping[str, Any], work_dir: str) -> Config:
        """Read the config, and apply the options and then the ablation."""
        config = load_config(str(self.config), options, work_dir)
        ablate(config, ABLATIONS[self.ablation] if self.ablation else {})
        return config


class Suite(NamedTuple):
    """A full model and its variants on one data set."""

    full: Path
    others: Mapping[str, Variant]
    length: Length
    every: Sequence[int] = (0, 1, 2)  # seeds of the variants that seeds does not name
    seeds: Mapping[str, Sequence[int]] = {}
    options: Mapping[str, Any] = {}  # for all configs

    def variants(self) -> dict[str, Variant]:
        """The full model first."""
        return {'full': Variant(self.full), **self.others}

    def seeds_of(self, variant: str) -> Sequence[int]:
        """The seeds of one variant."""
        return self.seeds.get(variant, self.every)


def ablations_of(config: Path, names: Sequence[str] = RANKING) -> dict[str, Variant]:
    """Ablations of a recipe by name."""
    return {name: Variant(config, name) for name in names}


def corpus_test(num_videos: int, num_fused: int = 5) -> dict[str, Any]:
    """Test every query in its own video and in the corpus of all of them."""
    return {
        'test_cfg': dict(
            type='CorpusTestLoop', num_videos=num_videos, num_fused=num_fused, num_moments=100
        ),
        'test_evaluator': [
            dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge'),
            dict(type='CorpusMomentMetric', topk=(1, 10, 100), ious=(0.7,)),
        ],
        **{f'{part}_dataloader.num_workers': 0 for part in ('train', 'val', 'test')},
    }


DEMO, ANET, TACOS = (ROOT / 'configs' / f'demul_{name}.py' for name in ('demo', 'anet', 'tacos'))
SUITES = {
    # 400 films to train on, 300 others to test on; docs/model.md has the commands that make them.
    'rendered': Suite(
        DEMO,
        ablations_of(DEMO),
        Length(seconds=40),
        seeds={name: (0,) for name in FURTHER},
        options={
            **corpus_test(100),
            'data_root': f'{ROOT}/work_dirs/films/',
        },
    ),
    # 1,600 videos to train on, 200 of val_2 to test on; simulated features.
    'activitynet': Suite(
        ANET,
        ablations_of(ANET, [name for name in RANKING if name not in (*FURTHER, *SHORT_ONLY)]),
        Length(seconds=100),
        every=(0,),
        seeds={name: (0, 1, 2) for name in BASELINES},
        options={
            **SIMULATED,
            **corpus_test(100),
            **NO_DROPOUT,
            'train_dataloader.dataset.max_videos': 1600,
            'train_dataloader.dataset.missing': 'skip',
            'test_dataloader.dataset.max_videos': 200,
            'test_dataloader.dataset.missing': 'skip',
        },
    ),
    # 75 videos to train on, 25 to test on; simulated features.
    'tacos': Suite(
        TACOS,
        ablations_of(TACOS, MAIN),
        Length(seconds=160),
        every=(0,),
        seeds={name: (0, 1, 2) for name in BASELINES},
        options={**SIMULATED, **corpus_test(25, num_fused=2), **NO_DROPOUT},
    ),
}
