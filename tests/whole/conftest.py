"""What several tests of whole instances share."""

from __future__ import annotations

import pytest
from tests.softhsm import SoftHSM


@pytest.fixture
def hsm(tmp_path, monkeypatch) -> SoftHSM:
    """SoftHSM with a token `ocsp`."""
    softhsm = SoftHSM(tmp_path / "softhsm")
    for name, value in softhsm.environment.items():
        monkeypatch.setenv(name, value)
    softhsm.add("ocsp")
    return softhsm
