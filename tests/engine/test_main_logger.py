"""The results of a test are one file, whatever the number of processes."""

from pathlib import Path

import mmengine.dist.utils
import pytest
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

CONFIG = Path(__file__).parent / 'toy_config.py'


def test_the_main_process_alone_writes_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.fromfile(CONFIG)
    config.work_dir, config.experiment_name = str(tmp_path), 'main-logger'
    runner = Runner.from_cfg(config)
    runner.test()
    (results,) = Path(runner.log_dir).glob('*.json')
    (logger,) = (hook for hook in runner.hooks if isinstance(hook, LoggerHook))
    for rank in (1, 0):
        results.unlink(missing_ok=True)
        monkeypatch.setattr(mmengine.dist.utils, 'get_rank', lambda group=None, rank=rank: rank)
        logger.after_test_epoch(runner, {})
        assert results.exists() == (rank == 0)
