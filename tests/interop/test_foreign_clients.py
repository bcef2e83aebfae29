"""Clients of other makers accept our answers: good, revoked with its reason, unknown; over POST and GET."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.interop.clients import said
from tests.interop.site import Leaf, Site

from vouchd.client.transport import Connection, Method

pytestmark = [pytest.mark.interop, pytest.mark.process]


def leaf(site: Site, status: str) -> Leaf:
    return {"good": site.good, "revoked": site.revoked, "unknown": site.unknown}[status]


def answered_over_get(site: Site, request: Path, response: Path) -> None:
    """Send a request that a foreign client made by GET, for the client to verify the answer."""
    with Connection(site.url) as connection:
        exchange = connection.exchange(request.read_bytes(), Method.GET)
    assert exchange.method == "GET"
    assert exchange.header("Content-Type") == "application/ocsp-response"
    response.write_bytes(exchange.body)


# --- those that do all by themselves


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("name", ["newer OpenSSL", "Go", "NSS"])
def test_client_that_asks_by_itself_accepts(site, clients, name, status) -> None:
    """It verifies the answer by its own code, and reads the status."""
    assert clients.by_name[name](site, leaf(site, status)) == status


def test_newer_openssl_is_newer(clients) -> None:
    """The library that the same program is run over is of another line than Debian's."""
    versions = [said("openssl", "version", environment=one).text for one in (None, clients.newer_library)]
    debians, newer = (re.search(r"Library: OpenSSL (\d+)\.(\d+)", text).groups() for text in versions)
    assert tuple(map(int, newer)) > tuple(map(int, debians))


# --- openssl ocsp


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("options", [(), ("-no_nonce",)], ids=["nonce", "no nonce"])
@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_openssl_over_post_accepts(site, status, options, digest) -> None:
    """openssl verifies signature, delegation and nonce, and reads the status."""
    wanted = leaf(site, status)
    ask = ("-issuer", site.ca_file, f"-{digest}", "-cert", wanted.file, "-url", site.url, "-CAfile", site.ca_file)
    heard = said("openssl", "ocsp", *ask, *options)
    assert (heard.code, "Response verify OK" in heard.text) == (0, True), heard.text
    assert f"{wanted.file}: {status}" in heard.text
    assert "WARNING" not in heard.text
    assert ("Reason: keyCompromise" in heard.text) is (status == "revoked")


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
def test_openssl_over_get_accepts(site, status, tmp_path) -> None:
    """openssl has no GET; its request is sent by GET for it, and it verifies what comes back."""
    wanted, request, response = leaf(site, status), tmp_path / "request.der", tmp_path / "response.der"
    ask = ("-issuer", site.ca_file, "-cert", wanted.file)
    assert said("openssl", "ocsp", *ask, "-no_nonce", "-reqout", request).code == 0
    answered_over_get(site, request, response)
    heard = said("openssl", "ocsp", *ask, "-no_nonce", "-respin", response, "-CAfile", site.ca_file)
    assert (heard.code, "Response verify OK" in heard.text) == (0, True), heard.text
    assert f"{wanted.file}: {status}" in heard.text


def test_openssl_asking_for_all_in_one_request_accepts(site) -> None:
    """Three CertIDs in one request get three answers in one response."""
    leaves = {status: leaf(site, status) for status in ("good", "revoked", "unknown")}
    certs = [word for one in leaves.values() for word in ("-cert", one.file)]
    heard = said("openssl", "ocsp", "-issuer", site.ca_file, *certs, "-url", site.url, "-CAfile", site.ca_file)
    assert (heard.code, "Response verify OK" in heard.text) == (0, True), heard.text
    for status, one in leaves.items():
        assert f"{one.file}: {status}" in heard.text


# --- GnuTLS ocsptool


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("options", [("--nonce",), ("--no-nonce",)], ids=["nonce", "no nonce"])
def test_gnutls_over_post_accepts(site, status, options) -> None:
    """GnuTLS verifies signature, delegation and nonce, and reads the status."""
    ask = ("--load-cert", leaf(site, status).file, "--load-issuer", site.ca_file, "--load-trust", site.ca_file)
    heard = said("ocsptool", f"--ask={site.url}", *ask, *options)
    assert "Verifying OCSP Response: Success." in heard.text, heard.text
    assert re.search(rf"Certificate Status: {status}", heard.text), heard.text


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
def test_gnutls_over_get_accepts(site, status, tmp_path) -> None:
    """ocsptool has no GET; its request is sent by GET for it, and it verifies what comes back."""
    wanted, request, response = leaf(site, status), tmp_path / "request.der", tmp_path / "response.der"
    ask = ("--load-cert", wanted.file, "--load-issuer", site.ca_file)
    assert said("ocsptool", "--generate-request", "--no-nonce", *ask, "--outfile", request).code == 0
    answered_over_get(site, request, response)
    heard = said("ocsptool", "--verify-response", "--load-response", response, "--load-trust", site.ca_file)
    assert (heard.code, "Verifying OCSP Response: Success." in heard.text) == (0, True), heard.text
    shown = said("ocsptool", "--response-info", "--load-response", response)
    assert f"Certificate Status: {status}" in shown.text


# --- Java


@pytest.mark.parametrize("get", [True, False], ids=["GET", "POST"])
def test_java_accepts(site, clients, get) -> None:
    """PKIXRevocationChecker, without falling back to a CRL, takes good, revoked with its reason, and unknown."""
    files = (site.good.file, site.revoked.file, site.unknown.file)
    good, revoked, unknown = clients.jvm(get=get).said("OcspCheck", site.url, site.ca_file, *files)
    assert (good, unknown) == ("good", "unknown")
    assert re.fullmatch(r"revoked KEY_COMPROMISE \d+", revoked)
