"""TLS sessions of the agent port leave records: who came, who left, and which handshake came to nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing, suppress

import pytest
from tests.agent.agent_port import SECONDS, AgentPort, agent_port, issue
from tests.pki import CA
from tests.processes.running import eventually

from vouchd.audit.chain import Entry
from vouchd.audit.traffic import ESTABLISH, TERMINATED


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    settings = {"vouchd.agent.headerInSec": "1", "vouchd.agent.maxConnections": "3"}
    with agent_port(tmp_path_factory.mktemp("agent") / "instance", **settings) as port:
        yield port


def next_session(port: AgentPort, event: str, outcome: str) -> Entry:
    """The next record of that event and outcome; those before it are dropped."""

    def record():
        entries = port.keeping.sessions.due(final=True)
        return next((entry for entry in entries if (entry.event, entry.outcome) == (event, outcome)), None)

    return eventually(record, f"{event} {outcome}")


def failure(port: AgentPort) -> str:
    """Why the next session that failed did."""
    entry = next_session(port, ESTABLISH, "failure")
    assert entry.detail["subject"] == "-"
    return str(entry.detail["why"])


@pytest.mark.parametrize(("user", "subject"), [("agent", "CN=agent"), (None, "-")])
def test_session_is_recorded_with_the_subject_of_its_certificate(port, user, subject):
    """The beginning is recorded once the handshake is complete, without a request; the end when it is closed."""
    with closing(port.connect(user)):
        assert next_session(port, ESTABLISH, "success").detail["subject"] == subject
    assert next_session(port, TERMINATED, "success").detail["subject"] == subject


def test_certificate_of_a_stranger_is_recorded_as_a_failure(port):
    """A client certificate whose chain ends in nobody we trust: no session, and the reason."""
    stranger = issue(CA.create("Nobody's CA"), "stranger")
    with suppress(OSError), closing(port.connect(stranger)) as connection:
        connection.recv(1)
    assert "issuer certificate" in failure(port)


def plain(port: AgentPort, *sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port.port), timeout=SECONDS)
    for data in sent:
        connection.sendall(data)
    return connection


def test_handshakes_that_fail_tell_why(port):
    """No TLS at all, a client that leaves, and one that says nothing."""
    with closing(plain(port, b"GET / HTTP/1.1\r\n\r\n")) as connection:
        assert failure(port) == "HTTP_REQUEST"
        with suppress(OSError):
            connection.recv(1)
    plain(port).close()
    assert failure(port) == "the connection was lost"
    with closing(plain(port)):
        assert failure(port) == "it took too long"


def test_connection_beyond_the_limit_is_recorded_as_a_failure(port):
    """Who finds no place is told apart from who failed."""
    eventually(lambda: not port.server._places, "nobody is connected")
    with ExitStack() as connections:
        for _ in range(3):
            connections.enter_context(closing(port.connect("agent")))
        eventually(lambda: len(port.server._places._identified) == 3, "all have shown their certificates")
        with closing(plain(port)) as connection:  # cut off before its handshake: it cannot hold a descriptor for long
            assert connection.recv(1) == b""
        assert failure(port) == "too many connections"
    eventually(lambda: not port.server._places, "all places are free again")


def test_strangers_holding_all_places_make_room_for_an_agent(port):
    """However many connections without a certificate are held, in their handshake or idle, an agent is served."""
    with ExitStack() as connections:
        for _ in range(6):
            connections.enter_context(closing(plain(port)))
            connections.enter_context(closing(port.connect()))
        agent = connections.enter_context(closing(port.connect("agent")))
        assert next_session(port, ESTABLISH, "failure").detail["why"] == "gave way to a newer connection"
        eventually(lambda: len(port.server._places._identified) == 1, "the agent has shown its certificate")
        for _ in range(6):
            connections.enter_context(closing(plain(port)))
        agent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert agent.recv(8) == b"HTTP/1.1"
    eventually(lambda: not port.server._places, "all places are free again")


def test_port_serves_on_when_descriptors_run_out(port, monkeypatch):
    """Connections wait in the socket while none can be taken, and are served when one can."""
    taking, refused = port.server._accepting, []

    class Empty:
        def accept(self):
            refused.append(1)
            raise OSError(24, "Too many open files")

        def fileno(self):
            return listener.fileno()

    listener = taking._listener
    monkeypatch.setattr(taking, "_listener", Empty())
    with closing(plain(port)):
        eventually(lambda: refused, "the port tried to take the connection")
        monkeypatch.setattr(taking, "_listener", listener)
        assert port.ask("GET", "/ocsp/admin/ocsp/getStatus").status == 200
