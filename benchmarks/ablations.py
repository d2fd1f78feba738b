"""What each part of a recipe is worth: a table of what is changed for each ablation.

The benchmark (ablation.py) trains them. As a config for the other tools, one is written out:

Examples:
    python benchmarks/ablations.py configs/demul_demo.py three_stages work_dirs/three_stages.py
    python benchmarks/ablations.py configs/demul_anet.py transfer work_dirs/transfer.py \\
        --cfg-options features=configs/_base_/features/simulated.py
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

SEMANTIC = dict(type='JointScore', terms=('semantic',))
# Neither curves nor anything of the loss and of the score that is made for an index.
PLAIN = {
    'model.head.profile': None,
    'model.criterion.weights.boundary': 0.0,
    'model.criterion.weights.inside': 0.0,
    'model.head.joint': SEMANTIC,
}


def augmented(pipeline: list[dict]) -> list[dict]:
    """The pipeline with steps that change times and words, between loading and resampling."""
    load, *others = pipeline
    steps = [
        dict(type='SpliceMoment', prob=0.3, mode='replace'),
        dict(type='TemporalCrop', prob=0.3, min_keep=0.5),
        dict(type='SpeedChange', prob=0.3, low=0.67, high=1.5),
        dict(type='ClipDrop', prob=0.3, rate=0.1),
        dict(type='WordDrop', prob=0.3, rate=0.2, keep=3),
    ]
    return [load, *steps, *others]


def without(*types: str) -> Callable[[list[dict]], list[dict]]:
    """Of a pipeline, the steps that are not of these types."""
    return lambda pipeline: [step for step in pipeline if step['type'] not in types]


def uncalibrated(hooks: list[dict]) -> list[dict]:
    """All hooks but the one that calibrates."""
    return [hook for hook in hooks if hook['type'] != 'CalibrationHook']


# By name: dotted settings with the value that replaces the recipe's, or a function from that to it.
# The first is the part that it is about.
ABLATIONS: dict[str, dict[str, Any]] = {
    # The two baselines. The plainest dual encoder: contrast of query and moments, spans that the
    # video alone proposes.
    'dual_encoder': {**PLAIN, 'model.neck': None},
    # A plain fusion detector: the words are fused with every cell once; focal classification and
    # regressed borders; nothing is shared with an index.
    'plain_detector': {
        **PLAIN,
        **{f'model.criterion.weights.{name}': 0.0 for name in ('moment', 'query', 'video')},
        'model.neck': lambda neck: dict(neck, survivors=None, stages=('words',)),
    },
    # The dual encoder that is indexed, with the same head: query and video never meet.
    'no_fusion': {'model.neck': None},
    # The method's three fusion stages, where the short form has the last.
    'three_stages': {
        'model.neck.stages': ('sentence', 'phrases', 'words'),
        'model.neck.cells_talk': False,
    },
    # Private parts beside the shared ones, and the losses that keep them apart.
    'decoupling': {
        'model.decoupler.private_dim': 64,
        'model.criterion.weights.decorrelation': 0.1,
        'model.criterion.weights.confusion': 0.01,
    },
    # What the whole method has and the short form has not, one by one.
    'words_only': {'model.neck.stages': ('words',)},
    'no_private': {
        'model.decoupler.private_dim': 0,
        'model.criterion.weights.decorrelation': 0.0,
        'model.criterion.weights.confusion': 0.0,
    },
    'no_quality': {
        'model.criterion.weights.quality': 0.0,
        'model.head.joint.terms': ('semantic', 'boundary', 'coherence', 'video'),
    },
    'not_augmented': {
        'train_dataloader.dataset.pipeline': without('TemporalCrop', 'SpeedChange', 'ClipDrop')
    },
    'no_actions': {'train_dataloader.dataset.pipeline': without('ActionQueries')},
    # The shared space as it is learned, without subtracting the mean of each modality and level.
    'not_centred': {'model.decoupler.momentum': 0.0},
    # No curves before fusion, neither of similarity nor of words.
    'no_reader': {'model.reader': None, 'model.word_match': None},
    # Without the lengths of moments of similar training queries.
    'no_lengths': {'model.length_memory': None},
    # Without spans of the training set as further candidates.
    'no_prior': {'model.prior': None},
    # Moments are chosen by suppression of overlaps (NMS), not by expected recall.
    'suppression': {
        'model.test_cfg.nms': lambda nms: dict(
            type='MomentNMS', iou_thr=0.5, max_keep=nms['max_keep']
        )
    },
    # Captions and speech are compared with the query in learned features alone.
    'not_aligned': {'model.aligned': [], 'model.reader.learned': True},
    # Captions and speech without word matching: only what the texts mean.
    'no_word_match': {'model.word_match': None},
    # The sentence encoder is tuned to what is said first (of captions and speech).
    'tuned': {'language_tuning': dict(stream='text')},
    # Classification alone: fixed windows around the points, without regression, quality, borders,
    # coherence and the video's own score.
    'cls_only': {'model.head.regress': False, 'model.head.joint': SEMANTIC},
    # An estimate of how well borders fit, although the score is already trained towards that.
    'quality': {
        'model.criterion.weights.quality': 1.0,
        'model.head.joint.terms': ('semantic', 'quality', 'boundary', 'coherence', 'video'),
    },
    # A candidate does not see the query's curves around it.
    'no_profile': {'model.head.profile': None},
    # The curve of the moment's inside, smoothed over neighbouring clips.
    'smoothing': {'model.head.smoothing': 0.5},
    # Pairs of likely borders, or spans of a sparse 2-D map, beside the pyramid's points.
    'start_end': {'model.head.candidates': [dict(type='StartEndCandidates')]},
    'sparse_map': {'model.head.candidates': [dict(type='SparseMapCandidates')]},
    # Only the finest level of the pyramid.
    'single_scale': {'model.pyramid.num_levels': 1},
    # The scores as they were learnt: changes no ranking.
    'no_calibration': {'custom_hooks': uncalibrated},
    # A quarter of the queries are also fused with the video of the batch that looks most like
    # theirs.
    'hard_negatives': {'model.train_cfg.num_negatives': 0.25},
    # Batches of videos that the model takes for each other, mined before each epoch.
    'hard_mining': {
        'train_dataloader.sampler': dict(type='HardVideoSampler', group=4),
        'custom_hooks': lambda hooks: [*hooks, dict(type='HardVideoMiningHook', begin=2)],
    },
    # Semantic transfer: soft labels, and a memory of the captions and moments of earlier batches.
    'transfer': {'model.memory': dict(type='SemanticMemory', size=1024)},
    'no_transfer': {'model.memory': None},
    # Fusion teaches the shared space how it ranks.
    'distillation': {'model.criterion.weights.distillation': 0.2},
    # Augmentations of time and words, and moments of other videos.
    'augmented': {'train_dataloader.dataset.pipeline': augmented},
    # The first half of the epochs without fusion.
    'two_stage': {'custom_hooks': lambda hooks: [*hooks, dict(type='TwoStageHook', share=0.5)]},
    # AdamW for all weights, at the learning rate that was best for it.
    'adamw': {
        'optim_wrapper.optimizer': dict(type='AdamW', lr=1.5e-3, weight_decay=1e-2, fused=True)
    },
}


# Ablations that apply only to the short form, the whole method, or the text benchmarks.
SHORT_ONLY = ('three_stages', 'decoupling', 'quality', 'augmented')
WHOLE_ONLY = (
    'words_only',
    'no_private',
    'no_quality',
    'not_augmented',
    'no_actions',
    'not_centred',
    'no_reader',
    'no_lengths',
    'no_prior',
    'no_transfer',
)
TEXT_ONLY = ('not_aligned', 'no_word_match')  # of captions and speech
LEFT_OUT = ('no_fusion', *WHOLE_ONLY, 'suppression', *TEXT_ONLY)
# Parts of the method that few or no recipes use.
PUT_IN = ('hard_negatives', 'hard_mining', 'transfer', 'distillation', 'smoothing')


def ablate(config: Config, changes: Mapping[str, Any]) -> None:
    """Make the changes of one ablation in a config, in place.

    Raises:
        ValueError: the recipe lacks the part that the first is about, or is so already.
    """
    for i, (path, value) in enumerate(changes.items()):
        *parents, name = path.split('.')
        part = config
        for parent in parents:
            part = part.get(parent)
            if part is None:
                raise ValueError(f'{path}: the recipe has no {parent}, the ablation is none')
        before = part.get(name)
        after = value(before) if callable(value) else copy.deepcopy(value)
        # Nothing, an empty list and a setting that is not there are the same.
        if i == 0 and (before == after or (after in (None, []) and not before)):
            raise ValueError(f'{path}: the recipe is so already, the ablation is none')
        part[name] = after


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config of the recipe')
    parser.add_argument('name', choices=ABLATIONS, help='of the ablation')
    parser.add_argument('out', type=Path, help='config to write')
    add_config_options(parser)
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options, f'work_dirs/{args.out.stem}')
    ablate(config, ABLATIONS[args.name])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    config.dump(args.out)


if __name__ == '__main__':
    run_tool(main)
