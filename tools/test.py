"""Test a checkpoint: print its metrics, and write its predictions if asked to.

Examples:
    python tools/test.py configs/demul_charades.py work_dirs/demul_charades/epoch_12.pth
    python tools/test.py configs/demul_anet.py best.pth --dump work_dirs/anet/val_2.json
    python tools/test.py configs/demul_anet.py best.pth --cfg-options test_dataloader.batch_size=8
    python tools/test.py configs/demul_anet.py best.pth --tta
    python tools/test.py configs/demul_anet.py best.pth --corpus
    python tools/test.py projects/clip_zero_shot/configs/clip_zero_shot_charades_clip_cv.py
    python tools/test.py configs/demul_anet.py best.pth --corpus \\
        --cfg-options test_cfg.num_fused=100
    tools/dist_test.sh configs/demul_anet.py best.pth 8
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from demul_mm.cli import add_config_options, add_launcher, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from torch import nn

# What --corpus sets, before --cfg-options.
CORPUS = {'test_cfg.type': 'demul_mm.CorpusTestLoop'}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file; none for a model that is not trained'
    )
    parser.add_argument('--work-dir', help="where the log goes; default: work_dirs/<config's name>")
    parser.add_argument(
        '--dump',
        metavar='FILE.json',
        help='write the predictions as JSON, for tools/analysis_tools/eval_metric.py',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test at several time scales and merge: the config's tta_scales and tta_model",
    )
    parser.add_argument(
        '--corpus',
        action='store_true',
        help="find every query among all of the split's videos too; test_cfg has the options of "
        'CorpusTestLoop',
    )
    add_config_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def add_dump(config: Config, path: str) -> None:
    """Have the test evaluator write the predictions to ``path``."""
    if Path(path).suffix != '.json':
        raise ValueError(f"--dump writes JSON: give a name that ends in .json, not '{path}'")
    dump = dict(type='demul_mm.DumpPredictions', out_path=path)
    config.test_evaluator = [*metrics_of(config), dump]


def metrics_of(config: Config) -> list[dict]:
    """The metrics of the test."""
    evaluator = config.test_evaluator
    return list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]


def use_tta(config: Config) -> None:
    """Have the data set make each video at several time scales, and merge what is found.

    The pipeline is that of the test, with ``ResampleClips`` at all ``tta_scales``; a config may
    write its own ``tta_pipeline`` instead.
    """
    loop = config.test_cfg.get('type', 'TestLoop')
    if loop != 'TestLoop':
        raise ValueError(f'--tta works with TestLoop, the config tests with {loop}; leave it out')
    if 'tta_model' not in config:
        raise ValueError(
            '--tta needs tta_model and tta_scales in the config; '
            'configs/_base_/default_runtime.py shows how they are written'
        )
    dataset = config.test_dataloader.dataset
    dataset.pipeline = config.get('tta_pipeline') or at_scales(dataset.pipeline, config.tta_scales)
    config.model = dict(config.tta_model, module=config.model)


def at_scales(pipeline: list[dict], scales: Sequence[float]) -> list[dict]:
    """The pipeline with its step ``ResampleClips`` once for each scale."""
    from demul_mm.datasets.base import kind_of

    steps = [kind_of(step) for step in pipeline]
    if 'ResampleClips' not in steps:
        raise ValueError('--tta needs ResampleClips in the test pipeline, which makes the scales')
    place = steps.index('ResampleClips')
    resampled = [dict(pipeline[place], scale=scale) for scale in scales]
    several = dict(type='TestTimeAug', transforms=[resampled, pipeline[place + 1 :]])
    return [*pipeline[:place], several]


def add_corpus_metric(config: Config) -> None:
    """Have the test measure VR, SVMR and VCMR, unless the config does already."""
    from demul_mm.datasets.base import kind_of

    metrics = metrics_of(config)
    if 'CorpusMomentMetric' not in map(kind_of, metrics):
        config.test_evaluator = [dict(type='demul_mm.CorpusMomentMetric'), *metrics]


def bare_model(model: 'nn.Module') -> 'nn.Module':
    """The model within the wrappers of a distributed run and of a multi-scale test."""
    while hasattr(model, 'module'):
        model = model.module
    return model


def check_weights(model: 'nn.Module', checkpoint: str | None) -> None:
    """Refuse a checkpoint of another model, and none where there is something to train."""
    from demul_mm.engine.checkpoint import check_fits

    if checkpoint is not None:
        check_fits(model, checkpoint)
    elif any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError('this model is trained: give tools/test.py a checkpoint of it')


def main() -> None:
    args = parse_args()
    from mmengine.runner import Runner

    from demul_mm.cli.launch import launch
    from demul_mm.engine.checkpoint import read_checkpoint
    from demul_mm.registry import RUNNERS

    options = {**(CORPUS if args.corpus else {}), **(args.cfg_options or {})}
    config = load_config(args.config, options, args.work_dir)
    if args.corpus:
        add_corpus_metric(config)
    if args.checkpoint is not None:
        read_checkpoint(args.checkpoint)
    if args.dump:
        add_dump(config, args.dump)
    if args.tta:
        use_tta(config)
    config.load_from, config.resume = args.checkpoint, False
    launch(config, args.launcher, args.local_rank)
    runner = RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
    check_weights(bare_model(runner.model), args.checkpoint)
    runner.test()


if __name__ == '__main__':
    run_tool(main)
