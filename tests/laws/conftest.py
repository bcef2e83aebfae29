"""The instance in which much is wrong at once, running, for all laws."""

from __future__ import annotations

import pytest
from tests.laws.broken_site import Broken, made, running


@pytest.fixture(scope="session")
def broken(tmp_path_factory) -> Broken:
    """It stays as it is: nothing is mended."""
    site = made(tmp_path_factory.mktemp("broken"))
    process = running(site)
    yield site
    process.terminate()
    process.wait(60)
