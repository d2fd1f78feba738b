"""Train a model from a config.

Examples:
    python tools/train.py configs/demul_demo.py
    python tools/train.py configs/demul_charades.py --seed 1 --work-dir work_dirs/charades
    python tools/train.py configs/demul_charades.py --work-dir work_dirs/charades --resume
    python tools/train.py configs/demul_anet.py --cfg-options train_dataloader.batch_size=32
    python tools/train.py configs/demul_charades.py \\
        --refit work_dirs/demul_charades/best_R@1,IoU=0.5_epoch_18.pth
    tools/dist_train.sh configs/demul_anet.py 8 --auto-scale-lr
"""

import argparse
import os
from typing import TYPE_CHECKING

from mmengine.config import Config

from demul_mm.cli import add_config_options, add_launcher, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help="where logs and checkpoints go; default: work_dirs/<config's name>"
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a name from the latest in the work dir, '
        'or from the start if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision where the hardware multiplies bfloat16, float32 elsewhere, for a '
        'config without it; the recipes have it (optim_wrapper.dtype=float32 turns it off)',
    )
    parser.add_argument(
        '--refit',
        metavar='CHECKPOINT',
        help='train once more from the start, on the held-out videos too, and take over what was '
        'fitted on them in this checkpoint; work dir by default: that of the config, and /refit',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not validate while training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size over auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=int, help='random seed; default: the one in the config')
    parser.add_argument(
        '--diff-rank-seed', action='store_true', help='initialise each process with its own seed'
    )
    parser.add_argument(
        '--deterministic', action='store_true', help='bit-equal results for the same seed'
    )
    add_config_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def apply_args(config: Config, args: argparse.Namespace) -> None:
    """Write the command line into the config."""
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.amp:
        use_autocast(config)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (config.get('auto_scale_lr') or {}):
            raise ValueError(
                '--auto-scale-lr needs the batch size that the learning rate was chosen for: '
                f'set auto_scale_lr = dict(base_batch_size=...) in {args.config}'
            )
        config.auto_scale_lr.enable = True
    if args.refit is not None:
        refit(config, args.refit)
        if args.work_dir is None:
            config.work_dir = os.path.join(config.work_dir, 'refit')
    if args.resume is not None:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume
    randomness = dict(config.get('randomness') or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.diff_rank_seed:
        randomness['diff_rank_seed'] = True
    if args.deterministic:
        randomness['deterministic'] = True
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # or cuBLAS refuses
    config.randomness = dict(randomness, seed=randomness.get('seed'))


def refit(config: Config, checkpoint: str) -> None:
    """Hold no video out: none is validated on, and what was fitted on some is taken over."""
    from demul_mm.engine.checkpoint import read_checkpoint

    read_checkpoint(checkpoint)  # find out now that there is none
    parts = [config.train_dataloader.dataset]
    parts = parts[0].get('datasets') or parts
    if not any(part.get('subset') == 'fit' for part in parts):
        raise ValueError(
            '--refit trains on held-out videos too, but train_dataloader.dataset has no '
            "subset='fit': nothing is held out of it"
        )
    if config.get('val_dataloader') is None:
        raise ValueError(
            '--refit reads the training videos as val_dataloader does, to take their means, and '
            'validates nothing: leave --no-validate out'
        )
    if 'max_epochs' not in config.train_cfg:
        raise ValueError('--refit needs a train_cfg that counts epochs (max_epochs)')
    for part in parts:
        if part.get('subset') == 'fit':
            part.subset = 'all'
    config.train_cfg.val_begin = config.train_cfg.max_epochs + 1
    hook = dict(type='demul_mm.RefitHook', checkpoint=checkpoint)
    config.custom_hooks = [*(config.get('custom_hooks') or []), hook]


def check_start(config: Config) -> None:
    """Find out now, not after the data are read, that the run cannot start from its checkpoint."""
    from demul_mm.engine.checkpoint import (
        allow_mmengine_checkpoints,
        latest_checkpoint,
        read_checkpoint,
    )

    hook = (config.get('default_hooks') or {}).get('checkpoint') or {}
    if config.resume and config.load_from is None and not hook.get('out_dir'):
        latest = latest_checkpoint(config.work_dir)
        config.load_from = latest and str(latest)
    if config.load_from is not None and '://' not in config.load_from:
        read_checkpoint(config.load_from)
    allow_mmengine_checkpoints()


def check_batches(loader: 'DataLoader') -> None:
    """Refuse a training of no step, which mmengine answers with an assertion."""
    if not len(loader):
        raise ValueError(
            f'train_dataloader: its {len(loader.dataset)} videos are fewer than one batch of '
            f'{loader.batch_size}, and drop_last=True leaves out what is no whole batch; give '
            'train_dataloader.batch_size no more than there are videos, or drop_last=False'
        )


def use_autocast(config: Config) -> None:
    """Let the optimizer wrapper choose the precision by the device, where the config does not."""
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    name = kind if isinstance(kind, str) else kind.__name__
    if name.rsplit('.', 1)[-1] not in ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper'):
        raise ValueError(f"--amp cannot change an optim_wrapper of type '{name}'; leave it out")
    config.optim_wrapper.type = 'demul_mm.AutocastOptimWrapper'
    config.optim_wrapper.pop('loss_scale', None)
    precision = config.optim_wrapper.get('dtype')
    if precision == 'float32':
        raise ValueError(
            '--amp is mixed precision, and optim_wrapper.dtype=float32 none: leave one out'
        )
    config.optim_wrapper.dtype = precision or 'auto'


def main() -> None:
    args = parse_args()
    from mmengine.runner import Runner

    from demul_mm.cli.launch import launch
    from demul_mm.registry import RUNNERS

    config = load_config(args.config, args.cfg_options, args.work_dir)
    apply_args(config, args)
    check_start(config)
    launch(config, args.launcher, args.local_rank)
    runner = RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
    check_batches(runner.train_dataloader)
    runner.train()


if __name__ == '__main__':
    run_tool(main)
