"""What every test of a project runs under: the same as the tests of the package."""

import tests.conftest  # noqa: F401
