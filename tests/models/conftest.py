"""Models that many tests read and none changes."""

import pytest

from demul_mm.models.localizers import DeMUL
from tests.models.tiny import tiny_data, tiny_model, train_steps


@pytest.fixture(scope='session')
def fresh() -> DeMUL:
    """The model as it starts."""
    return tiny_model()


@pytest.fixture(scope='session')
def trained() -> DeMUL:
    """The model after some steps: every gate is open. In evaluation mode; not to be changed."""
    model = tiny_model()
    train_steps(model, tiny_data(), 10)
    return model
