"""Descriptors are few, and strangers hold connections: what the instance has to do goes on."""

from __future__ import annotations

import http.client
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.processes.running import DEADLINE_SECONDS, Instance

from vouchd.sockets import SPARE_DESCRIPTORS

pytestmark = pytest.mark.process

LIMIT = 200
POINTS = 20


@pytest.fixture
def instance(tmp_path):
    """An instance of one worker under a low limit of descriptors, with an open file for each issuing point."""
    made = Instance(tmp_path, descriptors=LIMIT, workers=1, points=POINTS)
    made.start()
    yield made
    made.end()


def ask(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    connection.request("POST", "/", b"x")
    with connection.getresponse() as response:
        return response.status, response.read()


def test_stranger_holding_idle_connections_keeps_no_publication_from_being_answered(instance):
    """However many connections are open and silent, a new manifest is loaded, and kept connections answer from it."""
    with ExitStack() as connections:
        kept = http.client.HTTPConnection(*instance.report.ee, timeout=DEADLINE_SECONDS)
        connections.callback(kept.close)
        assert ask(kept) == (200, b"1")
        for _ in range(2 * LIMIT):
            connections.enter_context(socket.create_connection(instance.report.ee))
        worker = instance.report.workers[0].pid
        assert instance.metric("vouchd_connections") <= instance.metric("vouchd_connection_room")
        assert len(list(Path(f"/proc/{worker}/fd").iterdir())) <= LIMIT - SPARE_DESCRIPTORS
        for version in range(2, 6):
            instance.revise(version)
            instance.signal(signal.SIGUSR1)
            instance.until(lambda report, version=version: report.acknowledged and report.version == version)
            assert ask(kept) == (200, b"%d" % version)
    assert "cannot load" not in instance.log


def test_connection_beyond_the_room_is_told_so(instance):
    """Who comes when no descriptor is left for connections gets tryLater under 503, not silence."""
    with ExitStack() as connections:
        room = int(instance.metric("vouchd_connection_room"))
        assert 0 < room < LIMIT - SPARE_DESCRIPTORS
        for _ in range(room):
            connections.enter_context(socket.create_connection(instance.report.ee))
        one_more = connections.enter_context(socket.create_connection(instance.report.ee, timeout=DEADLINE_SECONDS))
        assert one_more.makefile("rb").readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert "the limit of open descriptors is reached" in instance.log
