"""How long a client of an agent port waits for the answer to what it has sent."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from vouchd.client import admin, publishing
from vouchd.client.admin import TIMEOUT_SECONDS, AdminClient, await_answer
from vouchd.client.publishing import CRLPublisher

CRL = b"\x30" * 5_000_000


def connection(answer: bytes) -> tuple[http.client.HTTPConnection, socket.socket]:
    """A connection whose answer is there already, for who has nothing but that to wait for; and its other end."""
    near, far = socket.socketpair()
    far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
    ours = http.client.HTTPConnection("localhost", timeout=TIMEOUT_SECONDS)
    ours.sock = near
    return ours, far


@pytest.mark.parametrize(("octets", "seconds"), [(0, 120), (1_000_000, 121), (380_000_000, 500)])
def test_answer_is_awaited_longer_the_more_was_sent(octets, seconds):
    """Two minutes, and a second more for each megabyte: so much is taken in meanwhile, however busy the machine is."""
    ours, far = connection(b"")
    with closing(far), closing(ours):
        await_answer(ours, octets)
        assert ours.sock.gettimeout() == seconds


@pytest.mark.parametrize("client", [CRLPublisher, AdminClient])
def test_client_that_has_sent_a_crl_awaits_the_answer_as_long(client, monkeypatch):
    """Both ways to push a CRL wait for it."""
    ours, far = connection(b"status=0\n" if client is CRLPublisher else json.dumps({}).encode())
    waits = []
    ask = ours.getresponse

    def send(*_: object) -> None:
        """Say that it was sent, as http.client wants to have it."""
        ours.putrequest("POST", "/")
        ours.endheaders()

    monkeypatch.setattr(ours, "request", send)
    monkeypatch.setattr(ours, "getresponse", lambda: (waits.append(ours.sock.gettimeout()), ask())[1])
    monkeypatch.setattr(http.client, "HTTPSConnection", lambda *_, **__: ours)
    for module in (admin, publishing):
        monkeypatch.setattr(module, "client_tls", lambda *_: ssl.create_default_context())
    with closing(far):
        one = client("https://localhost", Path("none"))
        one.publish(CRL) if client is CRLPublisher else one.send("POST", "/crls", {}, CRL)
    assert waits == [TIMEOUT_SECONDS + 5]
