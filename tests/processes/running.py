"""A stub instance as real processes, and a client that keeps asking it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.commands import Process, start_python
from tests.nursery import STUB_MAIN

from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import InstanceReport, read_report

STUB = Path(__file__).with_name("stub_instance.py")
DEADLINE_SECONDS = 60
_PAUSE_SECONDS = 0.002  # between two questions: what restarts meanwhile needs the processor more


def eventually(condition: Callable, what: str | Callable[[], str]):
    """The first true result of `condition`, looked at again and again until a deadline that only a failure reaches.

    What takes long to ask, such as a command, is asked less often: what is waited for needs the processor more.
    """
    pause, end = threading.Event(), time.monotonic() + DEADLINE_SECONDS
    while True:
        begun = time.monotonic()
        if result := condition():
            return result
        now = time.monotonic()
        assert now < end, f"never happened: {what() if callable(what) else what}"
        pause.wait(max(0.02, 2 * (now - begun)))


class Instance:
    """One stub instance in a folder of its own."""

    def __init__(self, folder: Path, *, descriptors: int = 0, **settings) -> None:
        """`descriptors` is the limit that its processes cannot raise, 0: that of the tests."""
        self.folder = folder
        self._limits = (f"resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors},) * 2)",) if descriptors else ()
        self.configure(**{"ee": 0, "workers": 2, **settings})
        self.revise(1)
        self.process: subprocess.Popen | None = None
        self.log_name = "log"  # of the file that standard error goes to

    def configure(self, **settings) -> None:
        (self.folder / "settings").write_text(json.dumps(settings))

    def revise(self, revision: int) -> None:
        draft = self.folder / "revision.new"
        draft.write_text(str(revision))
        draft.replace(self.folder / "revision")

    def run(self) -> Process | subprocess.Popen:
        """Start a manager process; it is not waited for."""
        code = "\n".join(("import os, resource", "os.setsid()", *self._limits, STUB_MAIN))
        with (self.folder / self.log_name).open("ab") as log:
            return start_python(code, self.folder, stderr=log)

    def start(self) -> InstanceReport:
        self.process = self.run()
        return self.until(lambda report: report.acknowledged)

    def until(self, condition: Callable[[InstanceReport], bool]) -> InstanceReport:
        """The first serving report that meets the condition."""

        def serving_report() -> InstanceReport | None:
            assert self.process.poll() is None, f"the manager ended: {self.log}"
            report = self.report
            return report if report and condition(report) else None

        return eventually(serving_report, lambda: f"a serving report as wanted; last {self.report}; log {self.log}")

    @property
    def report(self) -> InstanceReport | None:
        return read_report(self.folder / "serving.json")

    @property
    def log(self) -> str:
        return (self.folder / self.log_name).read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ask(self, body: bytes = b"x") -> bytes:
        """The body of the answer to one POST on a connection of its own."""
        connection = http.client.HTTPConnection(*self.report.ee, timeout=DEADLINE_SECONDS)
        connection.request("POST", "/", body)
        with connection.getresponse() as response:
            return response.read()

    def health(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self.report.health, timeout=DEADLINE_SECONDS)
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, response.read().decode()

    def metric(self, name: str) -> float:
        """The value of the metric line that starts with `name`."""
        lines = [line for line in self.health("/metrics")[1].splitlines() if line.startswith(name + " ")]
        return float(lines[0].split()[-1])

    def restart(self) -> InstanceReport:
        """SIGHUP, and wait until none of the former workers is left."""
        before = {worker.pid for worker in self.report.workers}
        self.signal(signal.SIGHUP)
        return self.until(lambda report: report.acknowledged and not before & {w.pid for w in report.workers})

    def end(self) -> None:
        """Kill what is left of the instance; its workers end by themselves."""
        if self.process is not None:
            pid = running_pid(self.folder / "vouchd.pid")
            self.process.kill()
            self.process.wait()
            assert pid in (None, self.process.pid)


def gone(pid: int) -> bool:
    """Whether no such process runs."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


class Load:
    """Asks all the time, on one persistent connection and on new ones, and keeps count of what comes back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._persistent), threading.Thread(target=self._fresh)]
        self._lock = threading.Lock()
        self.answers: Counter[bytes] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until_answers(self, count: int) -> None:
        """Wait for that many more answers (or a failure)."""
        goal = sum(self.answers.values()) + count
        eventually(lambda: self.failures or sum(self.answers.values()) >= goal, "answers under load")

    def _persistent(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=DEADLINE_SECONDS)
        while not self._stop.wait(_PAUSE_SECONDS):
            self._ask(connection)
        connection.close()

    def _fresh(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            connection = http.client.HTTPConnection(*self._address, timeout=DEADLINE_SECONDS)
            self._ask(connection)
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.request("POST", "/ocsp", b"x")
            with connection.getresponse() as response:
                body = response.read()
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
                with self._lock:
                    self.answers[body] += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            connection.close()
