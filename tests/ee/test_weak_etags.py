"""Where each signing makes other octets, two workers or members have one ETag for one answer, a weak one."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from tests.ee.ee_fakes import Clock, FakeTransport, until
from tests.pki import CA, NOW
from tests.serving import entry, point, request_for, responder, serving, state

from vouchd.ee.connection import EEConnection
from vouchd.ee.port_state import PortState
from vouchd.settings.tcp_ports import EEPort
from vouchd.signing.software import SoftwareSigner

ONE = CA.create("CA one")
RSA, ML_DSA = (ONE.issue_signer(kind=kind) for kind in ("RSA", "ML-DSA-44"))


class Member:
    """A port of a set that signs with a key that all have."""

    def __init__(self, issued, algorithm: str, *entries) -> None:
        signer = SoftwareSigner("signer", issued.key, issued.der, algorithm=algorithm)
        answers = responder(state(serving(ONE, point(ONE, *entries))), signer)
        self.port = PortState(answers, EEPort(), clock=Clock(NOW), uptime_clock=Clock(0))

    async def ask(self, *lines: str) -> tuple[bytes, dict[str, str], bytes]:
        """Status line, headers and body of the answer to a GET."""
        connection, transport = EEConnection(self.port), FakeTransport()
        connection.connection_made(transport)
        path = quote(base64.b64encode(request_for(ONE, 5)).decode(), safe="")
        head = "".join(f"{line}\r\n" for line in (f"GET /{path} HTTP/1.1", "Host: member", *lines))
        connection.data_received(f"{head}\r\n".encode())
        await until(lambda: transport.written)
        answer, _, body = bytes(transport.written).partition(b"\r\n\r\n")
        status, *headers = answer.split(b"\r\n")
        return status, dict(line.decode().split(": ", 1) for line in headers), body


@pytest.mark.parametrize(
    ("issued", "algorithm"), [(RSA, "SHA256withRSA/PSS"), (ML_DSA, "ML-DSA-44")], ids=["RSA-PSS", "ML-DSA"]
)
async def test_etag_of_an_answer_signed_at_random_is_weak_and_one_for_all_members(issued, algorithm):
    """RFC 9110 section 8.8.1: what differs in the signature alone has one weak tag, by which any member says 304."""
    first, second = (Member(issued, algorithm) for _ in range(2))
    (_, mine, body), (_, other, other_body) = await first.ask(), await second.ask()
    assert body != other_body
    assert mine["ETag"] == other["ETag"]
    assert mine["ETag"].startswith('W/"')
    status, headers, nothing = await second.ask(f"If-None-Match: {mine['ETag']}")
    assert (status, headers["ETag"], nothing) == (b"HTTP/1.1 304 Not Modified", mine["ETag"], b"")


async def test_etag_of_another_answer_signed_at_random_is_another_one():
    """A weak tag is over all that is said: a certificate that was revoked since is given anew, with 200."""
    former, later = Member(RSA, "SHA256withRSA/PSS"), Member(RSA, "SHA256withRSA/PSS", entry(5))
    _, headers, _ = await former.ask()
    status, now, body = await later.ask(f"If-None-Match: {headers['ETag']}")
    assert status == b"HTTP/1.1 200 OK"
    assert now["ETag"] != headers["ETag"]
    assert body


async def test_etag_of_another_signer_of_the_same_key_is_another_one():
    """Certificates are in the tag: who has a response with the signer's former certificate is given the new one."""
    renewed = ONE.issue_signer(key=RSA.key)
    tags = [(await Member(one, "SHA256withRSA/PSS").ask())[1]["ETag"] for one in (RSA, renewed)]
    assert tags[0] != tags[1]


async def test_etag_of_an_answer_signed_alike_by_all_is_strong():
    """Where members make the same octets the tag promises them: the SHA-256 of the response."""
    _, headers, _ = await Member(RSA, "SHA256withRSA").ask()
    assert headers["ETag"].startswith('"')
