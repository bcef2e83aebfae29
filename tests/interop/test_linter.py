"""Our answers as a linter for OCSP responses (RFC 6960, RFC 5280) sees them."""

from __future__ import annotations

import pytest
from pkilint.bin import lint_ocsp_response
from tests.commands import run_vouchd

pytestmark = [pytest.mark.interop, pytest.mark.process]


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("nonce", ["--nonce", "--no-nonce"])
def test_linter_has_no_finding_of_error_level(site, status, nonce, tmp_path, capsys) -> None:
    """pkilint finds no error in an answer of any status."""
    response = tmp_path / "response.der"
    query = ("--url", site.url, "--issuer", site.ca_file, nonce, "--out", response)
    codes = {"good": 0, "revoked": 1, "unknown": 3}
    assert run_vouchd("query", getattr(site, status).file, *query).returncode == codes[status]
    findings = lint_ocsp_response.main(["lint", "-s", "ERROR", str(response)])
    heard = capsys.readouterr()
    assert (findings, heard.out.strip(), heard.err) == (0, "", "")
