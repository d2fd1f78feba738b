"""One small corpus for all tests of the inferencers."""

import pytest

from tests.apis.small import SmallCorpus, make_small_corpus


@pytest.fixture(scope='session')
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SmallCorpus:
    return make_small_corpus(tmp_path_factory.mktemp('small'))
