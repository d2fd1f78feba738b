"""What every test runs under."""

import gc
import importlib
import os
from collections import Counter
from collections.abc import Iterator

import pytest

# mmengine.hub would install packages by itself; a test that got there must fail instead.
os.environ.setdefault('PIP_REQUIRE_VIRTUALENV', '1')
# Before torch is loaded: some laws are exact with one thread only, as with `make test`.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Nothing may reach for the network.
os.environ.setdefault('HF_HUB_OFFLINE', '1')


def pytest_sessionstart() -> None:
    """Let yapf, which mmengine imports, write its grammar's cache before processes read it.

    It is written anew after each install, and who reads meanwhile finds half a file.
    """
    importlib.import_module('yapf')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker('slow'))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _log_level_stays() -> Iterator[None]:
    """Undo what a command that was run in this process did to the log of later tests."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True, scope='module')
def _what_is_imported_stays() -> None:
    """Keep the collector from searching the imported libraries again for each data set.

    mmengine collects garbage whenever it builds one, a third of a second with all that is loaded.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs and processes begin with all imports done; see ``tests/warm.py``."""
    from tests.warm import start_warm

    start_warm(monkeypatch)
