"""What the ablation benchmark trains: full models, their variants, seeds and sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ('full', 'dual_encoder', 'plain_detector')
# Beside what the method claims: on the films alone.
FURTHER = ('adamw', 'hard_mining', 'sparse_map', 'two_stage')
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


class Suite(NamedTuple):
    """A full model and its variants on one data set."""

    full: Path
    others: Mapping[str, Path]
    length: Length
    every: Sequence[int] = (0, 1, 2)  # seeds of the variants that seeds does not name
    seeds: Mapping[str, Sequence[int]] = {}
    options: Mapping[str, Any] = {}  # for all configs

    def variants(self) -> dict[str, Path]:
        """The full model first."""
        return {'full': self.full, **self.others}

    def seeds_of(self, variant: str) -> Sequence[int]:
        """The seeds of one variant."""
        return self.seeds.get(variant, self.every)


def variants_of(folder: str, without: Sequence[str] = ()) -> dict[str, Path]:
    """The configs of a folder in configs/ablations by name, but for what changes no ranking."""
    paths = sorted((ROOT / 'configs' / 'ablations' / folder).glob('*.py'))
    return {path.stem: path for path in paths if path.stem not in ('no_calibration', *without)}


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


SUITES = {
    # 400 films to train on, 300 others to test on; docs/model.md has the commands that make them.
    'rendered': Suite(
        ROOT / 'configs' / 'demul_demo.py',
        variants_of('rendered'),
        Length(seconds=40),
        seeds={name: (0,) for name in FURTHER},
        options={
            **corpus_test(100),
            **{
                f'{part}_dataloader.dataset.data_root': f'{ROOT}/work_dirs/films/'
                for part in ('train', 'val', 'test')
            },
        },
    ),
    # 1,600 videos to train on, 200 of val_2 to test on; simulated features.
    'activitynet': Suite(
        ROOT / 'configs' / 'demul_anet_simulated.py',
        variants_of('activitynet', without=FURTHER),
        Length(seconds=100),
        every=(0,),
        seeds={name: (0, 1, 2) for name in BASELINES},
        options={
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
        ROOT / 'configs' / 'demul_tacos_simulated.py',
        variants_of('tacos'),
        Length(seconds=160),
        every=(0,),
        seeds={name: (0, 1, 2) for name in BASELINES},
        options={**corpus_test(25, num_fused=2), **NO_DROPOUT},
    ),
}
