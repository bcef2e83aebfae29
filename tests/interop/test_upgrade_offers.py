"""HTTP clients that offer HTTP/2 with their first request get the answer to it, over HTTP/1.1."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.site import Site
from tests.interop.test_foreign_clients import said

pytestmark = [pytest.mark.interop, pytest.mark.process]


@pytest.fixture
def request_file(site: Site, tmp_path: Path) -> Path:
    """A request for the good certificate, made by openssl."""
    file = tmp_path / "request.der"
    made = said("openssl", "ocsp", "-issuer", site.ca_file, "-cert", site.good.file, "-no_nonce", "-reqout", file)
    assert made.code == 0, made.text
    return file


def accepted(site: Site, response: Path) -> bool:
    """Whether openssl verifies the response and reads `good`."""
    ask = ("-issuer", site.ca_file, "-cert", site.good.file, "-no_nonce", "-CAfile", site.ca_file)
    heard = said("openssl", "ocsp", *ask, "-respin", response)
    return "Response verify OK" in heard.text and f"{site.good.file}: good" in heard.text


def test_curl_offering_http2_with_a_body_is_answered(site, request_file, tmp_path):
    """`curl --http2 --data-binary` offers h2c; its body is the question, and the connection is kept for the next."""
    responses = [tmp_path / "first.der", tmp_path / "second.der"]
    ask = ("-H", "Content-Type: application/ocsp-request", "--data-binary", f"@{request_file}")
    once = ("--silent", "--show-error", "--fail", "--http2", *ask, "-w", "%{http_version} %{num_connects}\n")
    heard = said("curl", *once, "-o", responses[0], site.url, "--next", *once, "-o", responses[1], site.url)
    assert (heard.code, heard.text.split()) == (0, ["1.1", "1", "1.1", "0"]), heard.text
    assert all(accepted(site, response) for response in responses)


def test_java_http_client_as_it_is_is_answered(site, clients, request_file, tmp_path):
    """java.net.http.HttpClient offers h2c unless it is told not to."""
    response = tmp_path / "response.der"
    heard = clients.jvm(get=True).said("AskByHttpClient", site.url, request_file, response)
    assert heard == ["200 HTTP_1_1"] * 2
    assert accepted(site, response)
