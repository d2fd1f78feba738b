"""One trained model for all tests of the analysis."""

import pytest

from demul_mm.models.localizers import DeMUL
from tests.analysis.splits import trained_model


@pytest.fixture(scope='session')
def trained() -> DeMUL:
    return trained_model()
