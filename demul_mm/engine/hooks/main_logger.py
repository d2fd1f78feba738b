"""One file of results, written by one process."""

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from demul_mm.registry import HOOKS


@HOOKS.register_module()
class MainLoggerHook(LoggerHook):
    """mmengine's ``LoggerHook``, but only the main process writes the results of a test.

    The parent's processes all write to one file at once, which can leave broken JSON.
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)
