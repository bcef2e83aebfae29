"""Starting, stopping and restarting an instance's manager process from another process.

Whether it runs is told by the lock on its PID file; what it serves by the serving report it writes.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vouchd.core.facts import Epoch
from vouchd.errors import LifecycleError, NotFound, RestartRefused
from vouchd.files import read_head, read_tail
from vouchd.hardening import PROGRAM
from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import InstanceReport, ReportReader, read_report
from vouchd.service.pulling import SourceState
from vouchd.settings.layout import Layout

_T = TypeVar("_T")
START_SECONDS = 60.0
STOP_SECONDS = 60.0
SERVED_SECONDS = 120.0
HEEDED_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LOOKS_SHARE = 9
_WORK_SHARE = 0.05  # of a processor: an instance that does nothing takes less
_MOST_TIMES = 10
_USED = slice(11, 13)  # in /proc/PID/stat behind the name: in user mode and in the kernel
_TAIL_BYTES = 4000
_WARNINGS_BYTES = 1 << 20
_NAME, _HINT, _WARNING = "vouchd: ", "hint: ", "warning: "  # as commands write on stderr


@dataclass(frozen=True, slots=True)
class Status:
    """Whether the instance runs, and what it serves; `report` is None when it does not run or is not ready."""

    pid: int | None
    report: InstanceReport | None

    @property
    def ready(self) -> bool:
        """Whether it runs and every worker answers."""
        return self.report is not None and self.report.acknowledged


def require_instance(layout: Layout) -> None:
    """Raises: LifecycleError where the folder holds no instance."""
    if not layout.cs_cfg.exists():
        raise LifecycleError(
            f"{layout.root}: there is no instance",
            hint="name its folder with --instance DIR, or make one: vouchd create",
        )


def status(layout: Layout) -> Status:
    """The state of the instance now."""
    return looks(layout)()


def looks(layout: Layout) -> Callable[[], Status]:
    """What tells the state of the instance again and again; it reads what is new of the report."""
    reports = ReportReader(layout.serving)

    def look() -> Status:
        pid = running_pid(layout.pid_file)
        report = reports.read() if pid is not None else None
        return Status(pid, report if report is not None and report.pid == pid else None)

    return look


def start(
    layout: Layout,
    command: Sequence[str],
    *,
    seconds: float = START_SECONDS,
    warn: Callable[[str], None] = lambda _: None,
    meanwhile: Callable[[], object] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> InstanceReport:
    """Run `command` (the manager process in the foreground) in the background and wait until it is ready.

    It is ready when it answers for all CAs. `seconds` are those in which nothing comes of it: with many CAs it is at
    work for longer. What it says goes to the instance's log; its warnings go to `warn` as well, once it is ready.
    `meanwhile` is called when it has begun, `say` is told how far it is, again and again.

    Raises: LifecycleError when it runs already, ends or is not ready in time.
    """
    present = status(layout)
    if present.pid is not None:
        raise LifecycleError(
            f"this instance is already running, process {present.pid}", hint="restart it with `vouchd restart`"
        )

    proved, look = 0, looks(layout)

    def ready(_: int) -> InstanceReport | None:
        nonlocal proved
        now = look()
        if now.ready and now.report is not None and now.report.starting:
            say(f"answering; {now.report.starting}")
            proved = now.report.proved
            return None
        return now.report if now.ready else None

    start_of_log = layout.log.stat().st_size if layout.log.exists() else 0
    report = launch(command, layout.log, layout, ready, seconds, meanwhile, lambda: proved)
    for warning in _warnings(layout.log, start_of_log):
        warn(warning)
    return report


def launch(
    command: Sequence[str],
    log: Path,
    layout: Layout,
    ready: Callable[[int], _T | None],
    seconds: float,
    meanwhile: Callable[[], object] = lambda: None,
    done: Callable[[], int] = lambda: 0,
) -> _T:
    """Run `command` in the background until `ready`, asked with its process id, says something, which is returned.

    What it says goes to the file `log`; `meanwhile` and `seconds`: as in `start`; `done` counts what comes of it beside
    its work. Raises: LifecycleError when it ends or is not ready in time.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        start_of_log = file.tell()
        process = subprocess.Popen(  # noqa: S603  our own program, arguments from this module's caller
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd=layout.root
        )

    def alive() -> _T | None:
        if process.poll() is not None:
            raise LifecycleError(
                _last_words(log, start_of_log) or f"the instance ended with exit code {process.returncode}",
                hint=f"see {log}, or run it in the foreground: vouchd run --instance {layout.root}",
            )
        return ready(process.pid)

    meanwhile()
    begun = time.monotonic()
    result = _wait(alive, seconds, lambda: _work(process.pid) + done())
    if result is None:
        raise LifecycleError(
            f"the instance, process {process.pid}, is not ready after {time.monotonic() - begun:.0f} seconds",
            hint=f"see {log}",
        )
    process.returncode = 0  # it lives on without us: no warning when this object goes
    return result


def _last_words(log: Path, offset: int) -> str:
    """What the process said as an error before it ended."""
    said = _said(log, offset, _TAIL_BYTES)
    return next((line for line in said if not line.startswith((_HINT, _WARNING))), "")


def _warnings(log: Path, offset: int) -> list[str]:
    """What the process warned of."""
    return [line.removeprefix(_WARNING) for line in _said(log, offset, _WARNINGS_BYTES) if line.startswith(_WARNING)]


def _said(log: Path, offset: int, most_bytes: int) -> list[str]:
    """The lines that the process wrote as a command does."""
    lines = read_tail(log, most_bytes, begin=offset).decode("utf-8", "replace").splitlines()
    return [line.removeprefix(_NAME) for line in lines if line.startswith(_NAME)]


def stop(layout: Layout, *, seconds: float = STOP_SECONDS) -> bool:
    """Ask the instance to stop and wait until it has; False when it did not run. Raises: LifecycleError."""
    pid = running_pid(layout.pid_file)
    if pid is None:
        return False
    with _process(pid) as descriptor:
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            if not select.select([descriptor], [], [], seconds)[0]:
                raise LifecycleError(
                    f"process {pid} has not stopped after {seconds:.0f} seconds",
                    hint=f"end it with `kill -9 {pid}`; nothing stored is lost",
                )
    return True


@contextmanager
def _process(pid: int) -> Iterator[int | None]:
    """A file descriptor for a process, so that a reused process id is never signalled; None when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def restart(layout: Layout, command: Sequence[str], *, seconds: float = START_SECONDS) -> InstanceReport:
    """Have the running instance take on new settings and code without closing its port; start it when it does not run.

    Raises: LifecycleError, with the reason as soon as the instance refuses.
    """
    pid = running_pid(layout.pid_file)
    if pid is None:
        return start(layout, command, seconds=seconds)
    former = read_report(layout.serving)
    before = {worker.pid for worker in former.workers} if former else set()
    refusals = former.refusals if former else 0
    start_of_log = layout.log.stat().st_size if layout.log.exists() else 0
    look = looks(layout)
    os.kill(pid, signal.SIGHUP)

    def renewed() -> InstanceReport | None:
        now = look()
        if now.pid is None:
            said = _last_words(layout.log, start_of_log)
            raise LifecycleError(said or "the instance ended instead of restarting", hint=f"see {layout.log}")
        if now.report is not None and now.report.refusals > refusals:
            raise RestartRefused(
                f"not restarted: {now.report.refused}", hint="it goes on as it was; mend it, try again"
            )
        if now.report is None or not now.ready or any(worker.pid in before for worker in now.report.workers):
            return None
        return now.report

    report = _wait(renewed, seconds)
    if report is None:
        raise LifecycleError(f"the instance has not restarted after {seconds:.0f} seconds", hint=f"see {layout.log}")
    return report


def ask_restart(layout: Layout) -> bool:
    """Have a running instance restart; False when it does not run."""
    pid = running_pid(layout.pid_file)
    if pid is None:
        return False
    os.kill(pid, signal.SIGHUP)
    return True


def look_now(layout: Layout) -> bool:
    """Have a running instance look at its store at once; False when it does not run."""
    pid = running_pid(layout.pid_file)
    if pid is None:
        return False
    os.kill(pid, signal.SIGUSR1)
    return True


def fetch_now(layout: Layout, source: str, *, seconds: float = SERVED_SECONDS) -> SourceState:
    """Have a running instance ask that source of CRLs, and what came of it. Raises: NotFound, LifecycleError."""
    look = looks(layout)

    def state() -> SourceState:
        report = look().report
        if report is None:
            raise LifecycleError("the instance does not run", hint="start it with `vouchd start`")
        named = next((one for one in report.sources if one.name == source), None)
        if named is None:
            raise NotFound(f"no source {source}", hint="vouchd source list names them")
        return named

    before = state().attempts
    layout.fetch_requests.mkdir(mode=0o700, exist_ok=True)
    (layout.fetch_requests / source).touch()
    look_now(layout)

    def fetched() -> SourceState | None:
        now = state()
        return now if now.attempts > before else None

    result = _wait(fetched, seconds)
    if result is None:
        raise LifecycleError(
            f"the source {source} was not asked within {seconds:.0f} seconds", hint=f"see {layout.log}"
        )
    return result


def take_fetch_requests(layout: Layout) -> tuple[str, ...]:
    """The sources that a command wants to be asked, each told once; for the manager process."""
    try:
        requests = sorted(layout.fetch_requests.iterdir())
    except OSError:  # there was never one
        return ()
    for request in requests:
        request.unlink(missing_ok=True)
    return tuple(request.name for request in requests)


def wait_until_caught_up(layout: Layout, revision: int, *, seconds: float = SERVED_SECONDS) -> None:
    """Wait until every worker of the running instance answers from what the store held at that revision.

    Raises: LifecycleError.
    """
    look = looks(layout)

    def caught_up() -> bool:
        now = look()
        if now.pid is None:
            raise LifecycleError("the instance stopped meanwhile", hint="start it with `vouchd start`")
        return now.ready and now.report is not None and now.report.revision >= revision

    if not _wait(caught_up, seconds):
        raise LifecycleError(
            f"the change is stored, but not served after {seconds:.0f} seconds", hint=f"see {layout.log}"
        )


def wait_until_served(layout: Layout, epochs: Sequence[Epoch], *, seconds: float = SERVED_SECONDS) -> None:
    """Wait until every worker of the running instance answers from `epochs` or later. Raises: LifecycleError."""
    look = looks(layout)

    def served() -> bool:
        now = look()
        if now.pid is None:
            raise LifecycleError("the instance stopped meanwhile", hint="start it with `vouchd start`")
        report = now.report
        return report is not None and report.serves_all(epochs)

    if not _wait(served, seconds):
        raise LifecycleError(f"the CRL is stored, but not served after {seconds:.0f} seconds", hint=f"see {layout.log}")


def wait_until_heeded(layout: Layout, *, halted: bool, seconds: float = HEEDED_SECONDS) -> bool:
    """Wait until the workers of the running instance have stopped answering, or do so again; whether they have."""
    look = looks(layout)

    def heeded() -> bool:
        now = look()
        return now.pid is None or (now.report is not None and bool(now.report.halted) == halted)

    return bool(_wait(heeded, seconds))


def _wait(look: Callable[[], _T | None], seconds: float, work: Callable[[], float] = lambda: 0.0) -> _T | None:
    """The first true result of `look`, taken again and again for `seconds`; None when there is none.

    Where in these seconds some of them were `work`, it is waited for longer, up to ten times as long.
    """
    begun = time.monotonic()
    deadline, done = begun + seconds, work()
    while True:
        looked = time.monotonic()
        if result := look():
            return result
        if (now := time.monotonic()) >= deadline:
            more = work() - done
            if more < seconds * _WORK_SHARE or deadline >= begun + seconds * _MOST_TIMES:
                return None
            deadline, done = deadline + seconds, done + more
        time.sleep(max(_POLL_SECONDS, _LOOKS_SHARE * (now - looked)))  # the report of many CAs is long


def _work(pid: int) -> float:
    """Seconds of processor time that the process itself has taken; 0.0: it is gone."""
    fields = read_head(Path(f"/proc/{pid}/stat"), _TAIL_BYTES).rpartition(b")")[2].split()
    return sum(map(int, fields[_USED])) / os.sysconf("SC_CLK_TCK")


def manager_command(layout: Layout) -> list[str]:
    """The command that runs the instance in the foreground."""
    return [*PROGRAM, "vouchd.cli.main", "run", "--instance", str(layout.root)]
