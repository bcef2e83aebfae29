"""A whole instance without a store, run by the manager tests: `python stub_instance.py FOLDER [--worker SLOT]`.

The store is the file `revision` in the folder, the manifest the file `manifest`; an answer's body is the version that
the worker has loaded, or `halted`. `points` in the settings is how many files a worker keeps open for it. Files in the folder steer it: `settings` (JSON), `unreachable` (the store is away), `selftests.json` (results of self tests).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from vouchd.clock import SystemClock
from vouchd.core.facts import CertStatus
from vouchd.core.status import ServingState
from vouchd.ee.port_state import PortState
from vouchd.ee.server import EEServer
from vouchd.errors import ConfigError, IndexFileError, LifecycleError, StoreUnavailable, VouchdError
from vouchd.instance.report import ServedPoint
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.pkix.purposes import Validity
from vouchd.processes.logs import set_up_logs
from vouchd.processes.manager import Parts, run_manager
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.store_watch import Published
from vouchd.processes.worker import inherited, run_worker
from vouchd.service.terms import Answer, Basis, Terms
from vouchd.settings.tcp_ports import EEPort


class FilePublication:
    """The revision file copied to the manifest file."""

    doubtful = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def revision(self) -> int:
        if (self._folder / "unreachable").exists():
            raise StoreUnavailable("the store is away")
        return int((self._folder / "revision").read_text())

    def current(self) -> Published:
        try:
            version = int((self._folder / "manifest").read_text())
        except FileNotFoundError:
            version = 0
        return self._published(version)

    def publish(self) -> Published:
        version = self.revision()
        draft = self._folder / "manifest.new"
        draft.write_text(str(version))
        draft.replace(self._folder / "manifest")
        return self._published(version)

    def retell(self) -> Published:
        return self.current()

    def suspect_all(self, *, manifest: bool = False) -> None:
        """Nothing is kept that could be wrong."""

    has_folds = False

    def fold(self) -> bool:
        return False

    def tidy(self) -> bool:
        (self._folder / "tidied").write_text((self._folder / "manifest").read_text())
        return True

    def _published(self, version: int) -> Published:
        point = ServedPoint("ab" * 32, "complete", "Test CA", version, 7, 1000, 2**33, 1000, 3, 120)
        return Published(version, (point,) if version else ())


class VersionResponder:
    """Answers every request with the loaded version."""

    def __init__(self) -> None:
        self.version = 0
        self.halted = False
        self.basis = Basis()

    def halt(self, halted: bool) -> None:
        self.halted = halted
        self._change()

    def draft(self, request_der: bytes, at: int) -> Answer:
        if request_der == b"die":
            os.abort()
        terms = Terms(
            cert_statuses=(CertStatus.GOOD,),
            this_update=at,
            next_update=at + 3600,
            cacheable=request_der == b"cacheable",
            basis=self.basis,
        )
        return Answer((b"halted" if self.halted else b"%d" % self.version,), terms, at)

    def replacing(self, state: ServingState) -> Iterator[None]:
        self.version = state.version
        self._change()
        yield

    def _change(self) -> None:
        self.basis.current, self.basis = False, Basis()


def work(folder: Path) -> None:
    responder = VersionResponder()
    inheritance = inherited()
    if inheritance.slot == json.loads((folder / "settings").read_text()).get("broken_worker"):
        sys.exit(3)

    (folder / "worker").write_text(str(os.getpid()))
    points = json.loads((folder / "settings").read_text()).get("points", 0)
    files: list[IO[bytes]] = []  # of the loaded manifest, a descriptor an issuing point as a mapped index has one

    def load() -> ServingState:
        try:
            opened = [(folder / "manifest").open("rb") for _ in range(points)]
        except OSError as error:
            raise IndexFileError(str(error)) from error
        for former in files:
            former.close()
        files[:] = opened
        if (folder / "unloadable").exists():
            raise IndexFileError("damaged")
        try:
            version = (folder / "manifest").read_text()
        except FileNotFoundError as error:
            raise IndexFileError(str(error)) from error
        (folder / "loaded").write_text(version)
        return ServingState(int(version), ())

    run_worker(EEServer(PortState(responder, EEPort())), responder.replacing, load, inheritance, responder.halt)


def prove(folder: Path) -> None:
    """What a start has to pass: where there is a pipe `trial`, it is what somebody writes there, nothing for passed."""
    why = (folder / "trial").read_text() if (folder / "trial").exists() else ""
    if why:
        raise LifecycleError(why)


def manage(folder: Path) -> None:
    me = [sys.executable, str(Path(__file__).absolute()), str(folder)]

    def settings() -> dict[str, int]:
        try:
            return dict(json.loads((folder / "settings").read_text()))
        except ValueError as error:
            raise ConfigError("settings: not JSON") from error

    def addresses(values: dict[str, int]) -> tuple[tuple[str, int], tuple[str, int]]:
        return ("127.0.0.1", values["ee"]), ("127.0.0.1", values.get("health", 0))

    values = settings()
    ee, health = addresses(values)
    whole = ManagerSettings(
        ee=ee,
        health=health,
        workers=values["workers"],
        pid_file=folder / "vouchd.pid",
        serving_file=folder / "serving.json",
        log_file=folder / "log",
        worker_command=[*me, "--worker"],
        restart_command=["/no/such/program"] if "broken_restart" in values else me,
        reread=lambda: addresses(settings()),
        grace_seconds=10,
        prove=partial(prove, folder),
        selftests=SelfTestFile(folder / "selftests.json").latest,
        certificates={"ocsp": Validity(0, 2**33)},
    )

    def parts() -> Parts:
        """Where there is a pipe `parts`, it waits for what somebody writes there, nothing for made."""
        why = (folder / "parts").read_text() if (folder / "parts").exists() else ""
        if why:
            raise ConfigError(why)
        return Parts(whole, FilePublication(folder))

    run_manager(whole, parts, SystemClock())


def main() -> None:
    set_up_logs()
    try:
        (work if "--worker" in sys.argv else manage)(Path(sys.argv[1]))
    except VouchdError as error:
        sys.exit(f"stub: {error}")


if __name__ == "__main__":
    main()
