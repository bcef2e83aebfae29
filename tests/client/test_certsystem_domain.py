"""The security domain of a Certificate System, called over TLS as its own subsystems call it."""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.client.answers import HTTPRequest, Respond, loopback
from tests.pki import CA, DAY, NOW

from vouchd.client.certsystem_domain import CertificateSystemDomain, DomainHost
from vouchd.client.fingerprints import shown_fingerprint
from vouchd.errors import ClientError, ConfigError, PermissionDenied

ROOT = CA.create("Domain root", not_before=NOW - 4000 * DAY, not_after=NOW + 4000 * DAY)
HOST = {"Hostname": "ca.example.test", "SecurePort": "8443", "Clone": "FALSE", "SubsystemName": "CA one"}
INFO = {"id": "EXAMPLE", "Subsystem": [{"id": "CA", "Host": [HOST]}]}


def says(value: object, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    """An answer in JSON, or as it is."""
    body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    return status, {"Content-Type": "application/json"}, body


def done(status: str = "0", error: str = "") -> tuple[int, dict[str, str], bytes]:
    """An answer of an old servlet."""
    return says(f"<XMLResponse><Status>{status}</Status>{f'<Error>{error}</Error>' if error else ''}</XMLResponse>")


@contextmanager
def domain(respond: Respond, tmp_path: Path) -> Iterator[tuple[CertificateSystemDomain, list[HTTPRequest]]]:
    """The CA of the domain, and what it is asked."""
    name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = ROOT.issue(
        "127.0.0.1", extensions=((name, False),), not_before=NOW - 4000 * DAY, not_after=NOW + 4000 * DAY
    )
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(key + server.pem)
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    with loopback(respond, tls) as ca:
        url = ca.url.removesuffix("/ocsp")
        yield CertificateSystemDomain(url, "admin", "secret-word", tmp_path / "root.pem"), ca.requests


def willing(request: HTTPRequest) -> tuple[int, dict[str, str], bytes]:
    """A CA that does what it is asked."""
    if "installToken" in request.path:
        return says({"token": "4711"})
    return done() if request.method == "POST" else says(INFO)


def test_hosts_of_a_domain_are_read_without_a_password(tmp_path):
    """Anybody may read who is in a domain."""
    with domain(willing, tmp_path) as (client, requests):
        assert client.hosts() == ("EXAMPLE", (DomainHost("CA", "ca.example.test", 8443, False, "CA one"),))
    assert "Authorization" not in requests[0].headers


def test_registration_shows_a_token_that_the_password_has_bought(tmp_path):
    """The password goes to the log-in alone, over TLS; the change shows the token."""
    with domain(willing, tmp_path) as (client, requests):
        client.register("ocsp", "ocsp.example.test", 8080, 8443)
        client.register("ocsp", "ocsp.example.test", 8080, 8443, clone=True)
        client.remove("ocsp", "ocsp.example.test", 8443)
    posts = [parse_qs(one.body.decode()) for one in requests if one.method == "POST"]
    assert [(one["sessionID"], one["host"], one["sport"]) for one in posts] == [
        (["4711"], ["ocsp.example.test"], ["8443"])
    ] * 3
    assert (posts[0]["httpport"], posts[0]["clone"], posts[1]["clone"]) == (["8080"], ["false"], ["true"])
    assert posts[2]["operation"] == ["remove"]
    authorized = [one for one in requests if "Authorization" in one.headers]
    assert all("secret-word" in base64.b64decode(one.headers["Authorization"][6:]).decode() for one in authorized)
    assert all(one.method == "GET" for one in authorized)


def test_refusals_are_told_in_the_words_of_the_ca(tmp_path):
    """A wrong password is a missing right; an error of the old servlets is told, unescaped; a page is no answer."""
    for respond, error, words in (
        (lambda _: says("", 401), PermissionDenied, "does not let admin in"),
        (lambda one: willing(one) if one.method == "GET" else done("1", "a &amp; b"), ClientError, "a & b"),
        (lambda _: says("<html>"), ClientError, "not JSON"),
        (lambda _: says({"Message": "error result"}, 500), ClientError, "error result"),
        (lambda _: says("x" * (1 << 20) + "y"), ClientError, "more than"),
    ):
        with domain(respond, tmp_path) as (client, _), pytest.raises(error, match=words):
            client.register("ocsp", "ocsp.example.test", 8080, 8443)


def test_server_that_nobody_vouches_for_is_not_asked(tmp_path):
    """Without the CA's certificate no password is sent anywhere."""
    with domain(willing, tmp_path) as (client, requests):
        (tmp_path / "root.pem").write_bytes(CA.create("Another root").pem)
        with pytest.raises(ClientError):
            client.register("ocsp", "ocsp.example.test", 8080, 8443)
    assert requests == []


def test_server_is_known_by_its_fingerprint_instead(tmp_path):
    """Compared before anything is sent: with another one no byte of a request goes there."""
    with domain(willing, tmp_path) as (client, requests):
        shown = shown_fingerprint("127.0.0.1", urlsplit(client.url).port, 10)
        (tmp_path / "root.pem").write_bytes(CA.create("Another root").pem)
        compared = replace(client, fingerprint=shown.upper())
        compared.admit("ocsp.example.test")
        count = len(requests)
        with pytest.raises(ClientError, match="another one than was said") as caught:
            replace(client, fingerprint="0" * 64).hosts()
        assert shown in str(caught.value)
        with pytest.raises(ConfigError, match="64 hex digits"):
            replace(client, fingerprint="abc").hosts()
        assert len(requests) == count == 2
