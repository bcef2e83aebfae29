"""Our answers as a linter for OCSP responses (RFC 6960, RFC 5280) sees them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.commands import run_vouchd

pytestmark = [pytest.mark.interop, pytest.mark.process]


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("nonce", ["--nonce", "--no-nonce"])
def test_linter_has_no_finding_of_error_level(site, status, nonce, tmp_path) -> None:
    """pkilint finds no error in an answer of any status."""
    response = tmp_path / "response.der"
    query = ("--url", site.url, "--issuer", site.ca_file, nonce, "--out", response)
    codes = {"good": 0, "revoked": 1, "unknown": 3}
    assert run_vouchd("query", getattr(site, status).file, *query).returncode == codes[status]
    lint = [sys.executable, "-m", "pkilint.bin.lint_ocsp_response", "lint", "-s", "ERROR", response]
    heard = subprocess.run(lint, check=False, capture_output=True, text=True, timeout=60)
    assert (heard.returncode, heard.stdout.strip(), heard.stderr) == (0, "", "")
