"""The client of another member against a server that answers nonsense; see tests/agent/test_domain.py for a true one."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import issue
from tests.pki import CA

from vouchd.cloning import client
from vouchd.cloning.client import Identity, PeerClient
from vouchd.errors import ClientError, ConfigError, StoreUnavailable, VouchdError

OTHER = issue(CA.create("Somebody"), "somebody", ExtendedKeyUsageOID.SERVER_AUTH)
FINGERPRINT = hashlib.sha256(OTHER.der).hexdigest()
JSON = b"Content-Type: application/json\r\n"


@contextmanager
def answering(folder: Path, *replies: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS server's port, that gives these bytes to one connection each; and what it was sent."""
    (folder / "server.pem").write_bytes(
        OTHER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + OTHER.pem
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for reply in replies:
            with suppress(OSError):
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    request = whole_request(connection)
                    heard.append(request)
                    if request:
                        connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.close()
        thread.join(10)


def whole_request(connection: ssl.SSLSocket) -> bytes:
    """What one request is made of, headers and body; what is not read would reset the connection."""
    request = b""
    while part := connection.recv(65536):
        request += part
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head, re.IGNORECASE)
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return request


def reply(body: bytes, status: str = "200 OK", headers: bytes = JSON, length: int | None = None) -> bytes:
    """An HTTP answer."""
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status.encode(), size, headers, body)


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"not JSON"),
        reply(b"[" * 100_000),
        reply(b"{}"),
        reply(b"[]"),
        reply(b"null"),
        reply(b'{"now": "x", "epochs": 7}'),
        reply(b'{"now": 1, "epochs": [{"sequence": 1}]}'),
        reply(b'{"now": 1e999, "epochs": []}'),
        reply(b"oops", "500 Internal Server Error", b"Content-Type: text/plain\r\n"),
        reply(b"{}", "500 Internal Server Error", b"Content-Type: application/problem+json\r\n"),
        reply(b"[" * 100_000, "500 Internal Server Error", b"Content-Type: application/problem+json\r\n"),
        reply(b"{", length=100),
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_answer_that_is_none_is_the_servers_fault(tmp_path, answer):
    """Whatever comes back, the error is one of ours, with a hint."""
    with answering(tmp_path, answer) as (port, _):
        with pytest.raises(ClientError) as caught:
            PeerClient("127.0.0.1", port, FINGERPRINT, timeout_seconds=10).epochs()
        assert caught.value.hint


def test_problem_comes_as_the_error_it_was(tmp_path):
    """Class, words and hint are those of the other end."""
    body = b'{"error": "StoreUnavailable", "title": "the store is away", "hint": "wait"}'
    problem = reply(body, "503 Service Unavailable", b"Content-Type: application/problem+json\r\n")
    with (
        answering(tmp_path, problem) as (port, _),
        pytest.raises(StoreUnavailable, match="the store is away") as caught,
    ):
        PeerClient("127.0.0.1", port, FINGERPRINT).epochs()
    assert caught.value.hint == "wait"


def test_answer_too_large_is_refused(tmp_path, monkeypatch):
    """No member makes another one hold more than the limit."""
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 10)
    with (
        answering(tmp_path, reply(b" " * 100)) as (port, _),
        pytest.raises(ClientError, match="larger than 10 bytes"),
    ):
        PeerClient("127.0.0.1", port, FINGERPRINT).epochs()


def test_document_damaged_on_its_way_is_refused(tmp_path):
    """Bytes that do not have the hash they were asked by are no document."""
    with answering(tmp_path, reply(b"damaged")) as (port, _), pytest.raises(ClientError, match="damaged"):
        PeerClient("127.0.0.1", port, FINGERPRINT).document("0" * 64, 100)


@pytest.mark.parametrize(
    "body, words",
    [
        (b'{"step": "one"}\n', "stopped telling"),
        (b'{"step": "one"}\nnonsense\n', "not JSON"),
        (b'{"step": "one"}\nnull\n', "stopped telling"),
        (b'{"step": "one"}\n[%b]\n' % (b" " * (1 << 16)), "not JSON"),
        (b'{"step": "one"}\n{"error": "StoreUnavailable", "title": "away", "hint": ""}\n', "away"),
    ],
)
def test_filling_that_ends_without_its_end_is_told(tmp_path, body, words):
    """Only `done` means done: a stream that breaks off is an error, after the steps before were told."""
    steps: list[str] = []
    with answering(tmp_path, reply(body)) as (port, _), pytest.raises(VouchdError, match=words):
        PeerClient("127.0.0.1", port, FINGERPRINT).replicate("a:1", steps.append, 10)
    assert steps == ["one"]


def test_filling_that_is_done_is_done(tmp_path):
    """Signs of life are no steps."""
    steps: list[str] = []
    with answering(tmp_path, reply(b'{}\n{"step": "one"}\n{}\n{"done": true}\n')) as (port, _):
        PeerClient("127.0.0.1", port, FINGERPRINT).replicate("a:1", steps.append, 10)
    assert steps == ["one"]


def test_nothing_is_sent_to_whom_has_another_certificate(tmp_path):
    """The certificate is compared before the token, or anything else, is sent."""
    with answering(tmp_path, reply(b"{}")) as (port, heard):
        with pytest.raises(ClientError, match="another one than was said") as caught:
            PeerClient("127.0.0.1", port, "0" * 64).check("secret token")
        assert FINGERPRINT in str(caught.value)
    assert heard in ([], [b""])


def test_nobody_there_is_told_with_the_address():
    """A port where nothing listens is named."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ClientError, match=rf"cannot ask https://127.0.0.1:{port}"):
        PeerClient("127.0.0.1", port, FINGERPRINT).epochs()


def test_identity_without_files_is_refused_and_shows_no_password(tmp_path):
    """What cannot be read is named; the password is never shown."""
    identity = Identity(tmp_path / "none.pem", tmp_path / "none.key", "secret")
    assert "secret" not in repr(identity)
    with pytest.raises(ConfigError, match="no client certificate with its key"):
        PeerClient("127.0.0.1", 1, FINGERPRINT, identity)
