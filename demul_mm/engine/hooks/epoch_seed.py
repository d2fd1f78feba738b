"""Random numbers that depend on the seed and the epoch, not on what was drawn before."""

import random

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed all random numbers anew from (seed, epoch, rank) at the start of each epoch.

    A run resumed at an epoch then draws what the uninterrupted run draws: augmentations, dropout
    and the order of the data. Data loader workers are included: torch seeds them (torch, numpy
    and random) from a number that it draws in the main process when an epoch's iterator is made.
    mmengine's own ``worker_init_fn`` would give them the same numbers in every epoch, so it is
    taken away. Workers that live on between epochs (``persistent_workers``) cannot be seeded.
    """

    # Before every hook that draws random numbers at the start of an epoch.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.seed = 0

    def before_train(self, runner: Runner) -> None:
        # After a resume, runner.seed is that of the checkpoint. Rank 0's counts for all.
        seeds = [runner.seed]
        broadcast_object_list(seeds)
        self.seed = int(seeds[0])
        loader = runner.train_loop.dataloader
        loader.worker_init_fn = None
        for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
            if sampler is not None and hasattr(sampler, 'seed'):
                sampler.seed = self.seed
        if loader.persistent_workers:
            runner.logger.warning(
                'train_dataloader.persistent_workers=True: a resumed run will not draw the same '
                'random numbers in its workers as an uninterrupted one'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        sequence = np.random.SeedSequence([self.seed, runner.epoch, get_rank()])
        seed = int(sequence.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  transforms of other packages draw from it
        torch.manual_seed(seed)
