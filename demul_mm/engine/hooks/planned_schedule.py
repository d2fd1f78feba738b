"""Learning rate and optimizer of a resumed run as its config has them."""

import warnings
from typing import Any

from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import BaseOptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import Runner

from demul_mm.registry import HOOKS

# What a scheduler that waits for validations makes of their scores.
JUDGED = {'best', 'num_bad_epochs', 'cooldown_counter'}
# What a scheduler counts and what it has set, beside what it was planned with.
MOVING = {'last_step', '_global_step', '_last_value', 'verbose', *JUDGED}


@HOOKS.register_module()
class PlannedScheduleHook(ParamSchedulerHook):
    """mmengine's ``ParamSchedulerHook``, which also follows the config after a resume.

    A checkpoint holds the schedule that its run had. Where the config plans another one (more
    epochs, another learning rate's course), its steps are repeated up to the place of the
    checkpoint, so that the run goes on as one that had this plan from its start. A value that
    validations move (``ReduceOnPlateauLR``) stays as it is in the checkpoint, for no plan tells it.
    What no schedule sets (weight decay, betas, a constant learning rate) is in the checkpoint, too,
    and is put back to what the config says.
    """

    def before_run(self, runner: Runner) -> None:
        self._planned = [dict(one.state_dict()) for one in _schedulers(runner)]
        self._groups = [
            [{k: v for k, v in group.items() if k != 'params'} for group in wrapper.param_groups]
            for wrapper in _wrappers(runner)
        ]

    def before_train(self, runner: Runner) -> None:
        if not (runner._resume and runner.iter):
            return
        self._put_back(runner)
        schedulers = _schedulers(runner)
        if len(schedulers) != len(self._planned):
            return
        changed = [
            f'{name} {_short(one.state_dict().get(name))} -> {_short(value)}'
            for one, plan in zip(schedulers, self._planned)
            for name, value in plan.items()
            if name not in MOVING and one.state_dict().get(name) != value
        ]
        if not changed:
            return
        self._replay(runner, schedulers)
        values = {one.param_name: one.get_last_value()[0] for one in schedulers}
        runner.logger.warning(
            f'the schedule of the config is not that of the checkpoint ({", ".join(changed)}): it '
            f'goes on where the new one is at epoch {runner.epoch}, with '
            + ', '.join(f'{name} {value:.3g}' for name, value in values.items())
        )

    def _put_back(self, runner: Runner) -> None:
        """Give the optimizers what the config says, but for what a schedule sets."""
        changed = {}
        for wrapper, plans in zip(_wrappers(runner), self._groups):
            own = [one for one in _schedulers(runner) if one.optimizer is wrapper]
            driven = {one.param_name for one in own}
            adam = any(getattr(one, 'use_betas', False) for one in own)  # momentum: the first beta
            driven |= {f'initial_{name}' for name in driven}
            for group, plan in zip(wrapper.param_groups, plans):
                wanted = {name: value for name, value in plan.items() if name not in driven}
                if adam:
                    wanted['betas'] = (group['betas'][0], *plan['betas'][1:])
                for name, value in wanted.items():
                    if group.get(name) != value:
                        changed[name] = f'{name} {group.get(name)} -> {value}'
                        group[name] = value
        if changed:
            runner.logger.warning(
                'the optimizer of the config is not that of the checkpoint '
                f'({", ".join(sorted(changed.values()))}): it goes on as the config says'
            )

    def _replay(self, runner: Runner, schedulers: list[_ParamScheduler]) -> None:
        """Bring the schedulers, and the values they set, to where their plan is now."""
        judged = [one for one in schedulers if getattr(one, 'need_val_args', False)]
        kept = {(id(one.optimizer), name) for one in judged for name in _set_by(one)}
        moved = []
        for one, plan in zip(schedulers, self._planned):
            if not kept & {(id(one.optimizer), name) for name in _set_by(one)}:
                one.load_state_dict(plan)
                moved.append(one)
                continue
            state = one.state_dict()
            same = all(state.get(name) == plan.get(name) for name in ('monitor', 'rule'))
            counted = MOVING if same else MOVING - JUDGED  # another score is no mark
            one.load_state_dict({k: v for k, v in plan.items() if k not in counted})
        for wrapper, plans in zip(_wrappers(runner), self._groups):
            for group, plan in zip(wrapper.param_groups, plans):
                group.update({k: v for k, v in plan.items() if (id(wrapper), k) not in kept})
        length = len(runner.train_dataloader)
        with warnings.catch_warnings():  # torch misses the optimizer's steps in between
            warnings.simplefilter('ignore')
            for iteration in range(1, runner.iter + 1):
                for one in moved:
                    if not one.by_epoch or iteration % length == 0:
                        one.step()


def _set_by(scheduler: _ParamScheduler) -> set[str]:
    """What a scheduler sets in each group of parameters: for Adam, momentum is the first beta."""
    betas = getattr(scheduler, 'use_betas', False)
    return {scheduler.param_name, *(['betas'] if betas else [])}


def _schedulers(runner: Runner) -> list[_ParamScheduler]:
    """All schedulers of a runner that trains."""
    parts = runner.param_schedulers or []
    found = [one for part in parts.values() for one in part] if isinstance(parts, dict) else parts
    return [one for one in found if isinstance(one, _ParamScheduler)]


def _wrappers(runner: Runner) -> list[BaseOptimWrapper]:
    """The wrappers of the optimizers of a runner that trains."""
    whole = runner.optim_wrapper
    parts = whole.values() if isinstance(whole, (dict, OptimWrapperDict)) else [whole]
    return [one for one in parts if isinstance(one, BaseOptimWrapper)]


def _short(value: Any) -> Any:
    """A value of each group of parameters, by that of the first."""
    return value[0] if isinstance(value, list) and value else value
