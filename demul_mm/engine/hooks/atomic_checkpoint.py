"""A checkpoint hook that can be killed at any moment."""

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from demul_mm.engine.checkpoint import (
    ATOMIC_BACKEND,
    allow_mmengine_checkpoints,
    latest_checkpoint,
)
from demul_mm.files import write_atomically
from demul_mm.registry import HOOKS

# The log processor takes every name that starts with train, val or test for a value to log.
CHECKED = 'last_epoch_validated'
CHOSEN_BY = 'best_chosen_by'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` (same options), made safe against a kill.

    Files are written under a temporary name and renamed; outdated checkpoints are removed after
    the new one is on disk, not before; and a resumed run first repeats the validation of its last
    epoch where the kill came before that validation had been recorded, so that the best
    checkpoint, and what hooks fit for a validation, are those of an uninterrupted run.

    A run reads and removes the files of its own folder only: in a work dir that was copied, the
    names it finds are those of the original's files. A run that is resumed with another
    ``save_best`` or ``rule`` looks for the best anew, and leaves the earlier one's file.
    """

    backend_args: dict | None

    def before_run(self, runner: Runner) -> None:
        if runner._resume and runner._load_from is None:
            latest = latest_checkpoint(runner.work_dir, self._folder(runner.work_dir))
            runner._load_from = None if latest is None else str(latest)

    def before_train(self, runner: Runner) -> None:
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC_BACKEND)
        super().before_train(runner)
        self._keep_to_own_files(runner)
        if self._validation_is_missing(runner):
            runner.logger.info(f'Validating epoch {runner.epoch}, after which the run was stopped')
            runner.val_loop.run()

    def _folder(self, work_dir: str) -> str | None:
        """Where the checkpoints are, if not in the work dir."""
        return self.out_dir and os.path.join(self.out_dir, Path(work_dir).name)

    def _keep_to_own_files(self, runner: Runner) -> None:
        """Take the best checkpoints of another folder for one's own copies, or for none."""
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        names = ['best_ckpt'] if single else [f'best_ckpt_{key}' for key in self.key_indicators]
        for name, key in zip(names, self.key_indicators):
            known = runner.message_hub.runtime_info.get(name)
            if not known or Path(known).parent == Path(self.out_dir):
                continue
            copy = Path(self.out_dir, Path(known).name)
            own = str(copy) if copy.is_file() else None
            if own is None:
                runner.logger.warning(
                    f'the best checkpoint so far is {known}, of another folder: it stays there, '
                    'and the next one that is better is saved here'
                )
            runner.message_hub.update_info(name, own)
            if single:
                self.best_ckpt_path = own
            else:
                self.best_ckpt_path_dict[key] = own

    def _validation_is_missing(self, runner: Runner) -> bool:
        """Whether the resumed epoch was due for validation, and has no record of it."""
        loop, epoch = runner.train_loop, runner.epoch
        if not (self.by_epoch and runner._resume and epoch and runner.val_loop is not None):
            return False
        due = epoch >= loop.val_begin and (
            epoch % loop.val_interval == 0 or epoch == loop.max_epochs
        )
        recorded = runner.message_hub.runtime_info.get(CHECKED) == epoch
        return due and not recorded

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        runner.message_hub.update_info(CHECKED, runner.epoch)
        super().after_val_epoch(runner, metrics or {})

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if self.save_best:
            if 'auto' in self.key_indicators:
                self._init_rule(self.rules, [next(iter(metrics))])
            self._forget_other_best(runner)
        super()._save_best_checkpoint(runner, metrics)

    def _forget_other_best(self, runner: Runner) -> None:
        """A best score by another metric is no mark for this one."""
        now = [f'{key} ({rule})' for key, rule in zip(self.key_indicators, self.rules)]
        info = runner.message_hub.runtime_info
        before = info.get(CHOSEN_BY, now)
        runner.message_hub.update_info(CHOSEN_BY, now)
        if before == now:
            return
        for key in self.key_indicators:
            for name in ('best_score', 'best_ckpt', f'best_score_{key}', f'best_ckpt_{key}'):
                info.pop(name, None)
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)
        runner.logger.warning(
            f'the best checkpoint so far was chosen by {", ".join(before)}, from now on it is by '
            f'{", ".join(now)}: the file of that one stays'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out the functions of schedulers, which are theirs anew when they are built.

        A checkpoint that names one is not read: it could run code.
        """
        parts = checkpoint.get('param_schedulers', [])
        for states in parts.values() if isinstance(parts, dict) else [parts]:
            states[:] = [{k: v for k, v in one.items() if not callable(v)} for one in states]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._remember(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_atomically(Path(runner.work_dir) / 'last_checkpoint', self.last_ckpt.encode())
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _remember(self, runner: Runner, step: int) -> list[int]:
        """Add ``step`` to the checkpoints to keep, and return those that are one too many."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids[0]] if full else []
        self.keep_ckpt_ids.append(step)  # a deque of that length: the oldest falls out
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return outdated


allow_mmengine_checkpoints()
