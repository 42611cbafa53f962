import pytest

from odapi.demo.scenes import load_digits


@pytest.fixture(scope="session")
def digits():
    """The real 5,000 digits: reading them takes seconds, so once for all tests."""
    return load_digits()
