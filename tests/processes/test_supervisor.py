"""A service manager passes sockets to the manager process and is told how it does, as systemd's are."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from tests.processes.running import DEADLINE_SECONDS, STUB, Instance, eventually

from vouchd.errors import LifecycleError
from vouchd.processes.supervisor import Supervisor, passed_sockets

# Puts the descriptors of its first argument at 3, 4, … and becomes the rest, as a service manager's child does.
_CHILD = """
import os, sys
passed = [int(one) for one in sys.argv[1].split(",") if one]
for number, descriptor in enumerate([os.dup(one) for one in passed]):
    os.dup2(descriptor, 3 + number)
    os.set_inheritable(3 + number, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    """What listens to notices, and starts an instance with sockets of its own."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(self.address))
        self._channel.settimeout(DEADLINE_SECONDS)
        self.notices: list[dict[str, str]] = []

    def hear(self, key: str) -> dict[str, str]:
        """The next notice that has `key`; those before it are kept in `notices`."""
        while True:
            lines = self._channel.recv(4096).decode().splitlines()
            self.notices.append(dict(line.split("=", 1) for line in lines))
            if key in self.notices[-1]:
                return self.notices[-1]

    def run(self, instance: Instance, sockets: dict[str, socket.socket], **environment: str) -> None:
        """Start the instance; it is not waited for."""
        descriptors = [one.fileno() for one in sockets.values()]
        instance.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, ",".join(map(str, descriptors)), sys.executable, STUB, instance.folder],
            stderr=(instance.folder / instance.log_name).open("ab"),
            start_new_session=True,
            pass_fds=descriptors,
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(self.address),
                "LISTEN_FDS": str(len(descriptors)),
                "LISTEN_FDNAMES": ":".join(sockets),
                **environment,
            },
        )

    def forget(self) -> int:
        """Throw away what has come; how many notices those were."""
        count = 0
        while select.select([self._channel], [], [], 0)[0]:
            self._channel.recv(4096)
            count += 1
        return count

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def service_manager():
    """A service manager in a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        manager = ServiceManager(Path(folder))
        yield manager
        manager.close()


@pytest.fixture
def instance(tmp_path):
    """A stub instance with two workers, not started."""
    instance = Instance(tmp_path)
    yield instance
    instance.end()


def listening() -> socket.socket:
    """A socket that listens on a port of loopback."""
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.process
def test_supervisor_is_told_when_every_worker_answers_and_when_it_ends(instance, service_manager):
    """READY comes when all workers answer, STOPPING when it begins to end; no notice says a thing twice."""
    service_manager.run(instance, {})
    ready = service_manager.hear("READY")
    assert instance.report.acknowledged
    assert "answering on 127.0.0.1 port" in ready["STATUS"]
    assert instance.ask() == b"1"
    instance.signal(signal.SIGTERM)
    service_manager.hear("STOPPING")
    assert instance.process.wait(DEADLINE_SECONDS) == 0
    states = [tuple(notice.items()) for notice in service_manager.notices]
    assert all(one != other for one, other in itertools.pairwise(states))


@pytest.mark.process
def test_supervisor_is_told_of_a_reload_and_of_one_that_is_refused(instance, service_manager):
    """RELOADING is followed by READY of the same process, with the reason where settings cannot work."""
    service_manager.run(instance, {})
    service_manager.hear("READY")
    instance.signal(signal.SIGHUP)
    assert int(service_manager.hear("RELOADING")["MONOTONIC_USEC"]) > 0
    service_manager.hear("READY")
    assert instance.until(lambda report: report.acknowledged).pid == instance.process.pid
    (instance.folder / "settings").write_text("no settings")
    instance.signal(signal.SIGHUP)
    service_manager.hear("RELOADING")
    assert "not restarted: " in service_manager.hear("READY")["STATUS"]
    assert instance.ask() == b"1"


@pytest.mark.process
def test_watchdog_hears_of_the_loop_and_of_its_standing_still(instance, service_manager):
    """It hears at half of what it waits for, also after a restart, and nothing from a process that is stopped."""
    service_manager.run(instance, {}, WATCHDOG_USEC="200000")
    for _ in range(3):
        service_manager.hear("WATCHDOG")
    instance.signal(signal.SIGHUP)
    service_manager.hear("RELOADING")
    service_manager.hear("READY")
    service_manager.hear("WATCHDOG")
    instance.signal(signal.SIGSTOP)
    stopped = Path(f"/proc/{instance.process.pid}/stat")
    eventually(lambda: stopped.read_text().rsplit(")", 1)[1].split()[0] == "T", "the process stands still")
    service_manager.forget()  # what was under way
    assert service_manager.forget() == 0
    instance.signal(signal.SIGCONT)
    service_manager.hear("WATCHDOG")


@pytest.mark.process
def test_passed_socket_is_what_all_workers_answer_at_and_survives_restarts(instance, service_manager):
    """Clients that come before the process does are answered, and none is refused while it restarts with more workers."""
    with listening() as ocsp, listening() as health:
        port = ocsp.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port))
        service_manager.run(instance, {"ocsp": ocsp, "health": health})
        service_manager.hear("READY")
        assert (instance.report.ee[1], instance.report.health[1]) == (port, health.getsockname()[1])
        early.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        early.settimeout(DEADLINE_SECONDS)
        assert early.recv(4096).startswith(b"HTTP/1.1 200")
        early.close()
        failures, ended = [], threading.Event()

        def ask() -> None:
            while not ended.is_set():
                try:
                    instance.ask()
                except OSError as error:
                    failures.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            instance.configure(ee=0, workers=3)
            instance.restart()
        finally:
            ended.set()
            asking.join()
        assert failures == []
        assert len(instance.report.workers) == 3
        assert instance.report.ee[1] == port
        assert instance.health("/readyz")[0] == 200


@pytest.mark.process
def test_passed_socket_on_another_port_than_the_settings_name_is_refused(instance, service_manager):
    """The set and its clients are told the port of CS.cfg, so nothing is served elsewhere."""
    with listening() as ocsp, listening() as other:
        instance.configure(ee=other.getsockname()[1], workers=2)
        service_manager.run(instance, {"ocsp": ocsp})
        assert instance.process.wait(DEADLINE_SECONDS) != 0
        assert f"the passed socket ocsp is on port {ocsp.getsockname()[1]}, CS.cfg says" in instance.log


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("", "sockets named nothing"),
        ("vouchd.socket", "sockets named vouchd.socket"),
        ("ocsp:ocsp", "sockets named ocsp:ocsp"),
        ("ocsp:agent:health", "sockets named ocsp:agent:health"),
    ],
)
def test_passed_sockets_of_other_names_are_refused_with_the_line_that_mends_it(names, words):
    """A socket whose purpose is not said is not guessed at."""
    environment = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": names}
    with pytest.raises(LifecycleError, match=words) as refused:
        passed_sockets(environment, 7)
    assert "FileDescriptorName=" in refused.value.hint
    assert environment == {}


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "ocsp"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}],
    ids=["none", "another process", "no number"],
)
def test_sockets_meant_for_nobody_here_are_left_alone(environment):
    """Variables that a parent left in the environment are not believed."""
    assert passed_sockets(environment, 7) == {}


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1"}])
def test_supervisor_that_does_not_listen_is_no_reason_to_end(environment):
    """Without a service manager, or with one that is gone, nothing happens."""
    supervisor = Supervisor(environment, 7)
    supervisor.ready("x")
    supervisor.alive()
    supervisor.stopping()


def test_watchdog_of_another_process_is_not_ours():
    """A variable that was inherited from a parent with a watchdog starts none here."""
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}
    assert Supervisor(environment, 7).watchdog_seconds == 0
    assert Supervisor(environment, 8).watchdog_seconds == 0.5
