"""What a manager process hands to its successor through `exec`: open sockets, the PID file's lock, its workers.

How a restart works.
1. The settings on disk are read and their addresses tried, as the successor will; what cannot work changes nothing.
2. The manager closes what is its own (agent connections, tasks), asks each worker for its counters, which empties the
   control channels, and blocks its signals: those that come are handed on (signals.py).
3. It marks the descriptors below as inheritable, describes them in one environment variable and calls `exec`. The
   counters, of each CA, go into a file in memory: what the kernel takes of one variable ends at 128 KiB.
4. The successor takes the variable out of its environment, marks the descriptors as private again, wraps them, adopts
   the living workers, and starts workers of its own beside them on the same listening sockets.
5. When its own workers all answer from the current manifest, it lets the adopted ones drain.

Why it is right.
- `exec` keeps the process: its id (the PID file and the service manager stay true), its children, its locks and every
  descriptor not marked close-on-exec. So there is no moment in which a port is not listened to, and a connection that
  waits in a socket's queue waits on.
- The old workers answer until the new ones do (step 5), so there is no moment in which nobody answers either.
- What can fail, fails before step 3; if `exec` itself fails, this process is still whole, takes the marks back and
  goes on. Afterwards a successor that does not understand the variable (another version) says so and ends: its
  children see their control channel end, and drain.
- Nothing else is handed over: settings, store and manifest are read anew from disk. That is the point of a restart.
- Unknown names are left out, and what came later has a default: neighbouring versions can follow each other either way.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vouchd.errors import LifecycleError
from vouchd.files import inherited_file

VARIABLE = "VOUCHD_HANDOVER"


@dataclass(frozen=True, slots=True)
class HandedWorker:
    """One living worker: its child process, our end of its control channel and what it answers from."""

    slot: int
    pid: int
    control: int
    loaded: int


@dataclass(frozen=True, slots=True)
class Handover:
    """All numbers are descriptors but where a name says otherwise; `kept` are the counters of ended workers.

    Between the two processes they stand in the file `counters`; a predecessor of an earlier version has none.
    """

    ee_host: str  # as in the settings, to see whether they changed
    ee_port: int
    sockets: tuple[int, ...]
    health_host: str
    health_port: int
    health: int
    lock: int
    workers: tuple[HandedWorker, ...]
    kept: dict[str, Any]
    restarts: int  # of workers
    started_at: int  # POSIX seconds
    agent_host: str = ""
    agent_port: int = 0
    agent: int = -1  # no agent port
    shared: bool = False  # all EE sockets are copies of one, on whose port only a service manager may listen
    log_streams: tuple[int, ...] = ()  # of standard output and error, those that go to the log file
    signals: tuple[int, int] | None = None  # the pipe of those that are to be acted upon
    counters: int = -1  # no file of them

    def descriptors(self) -> tuple[int, ...]:
        """All descriptors that have to stay open."""
        agent = (self.agent,) if self.agent >= 0 else ()
        controls = (worker.control for worker in self.workers)
        return (*self.sockets, self.health, *agent, self.lock, *controls, *(self.signals or ()))


def execute(handover: Handover, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Become `command`, which takes over; returns only by raising OSError, with nothing changed."""
    for descriptor in handover.descriptors():
        os.set_inheritable(descriptor, True)  # noqa: FBT003  the standard library's signature
    try:
        with inherited_file(os.memfd_create("counters", 0)) as counters:
            counters.write(json.dumps(handover.kept).encode())
            counters.flush()
            handed = replace(handover, kept={}, counters=counters.fileno())
            described = {**environment, VARIABLE: json.dumps(asdict(handed))}
            os.execvpe(command[0], list(command), described)  # noqa: S606  no shell is wanted
    finally:
        for descriptor in handover.descriptors():
            os.set_inheritable(descriptor, False)  # noqa: FBT003


def handover_in(environment: MutableMapping[str, str]) -> Handover | None:
    """What the predecessor handed over, once: it is taken out of the environment. Raises: LifecycleError."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        values = json.loads(text)
        values["sockets"] = tuple(values["sockets"])
        values["log_streams"] = tuple(values.get("log_streams", ()))
        values["signals"] = tuple(values["signals"]) if values.get("signals") else None
        values["workers"] = tuple(HandedWorker(**_known(HandedWorker, worker)) for worker in values["workers"])
        if values.get("counters", -1) >= 0:
            with inherited_file(values["counters"]) as counters:
                counters.seek(0)
                values["kept"] = json.load(counters)
        handover = Handover(**_known(Handover, values))
        for descriptor in handover.descriptors():
            os.set_inheritable(descriptor, False)  # noqa: FBT003
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LifecycleError(f"{VARIABLE} is not a handover of this version", hint="stop and start instead") from error
    return handover


def _known(kind: type[Handover | HandedWorker], values: dict[str, Any]) -> dict[str, Any]:
    """What `kind` has a field for: a predecessor of a newer version may tell more."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def socket_of(descriptor: int) -> socket.socket:
    """The listening socket of an inherited descriptor."""
    listener = socket.socket(fileno=descriptor)
    listener.settimeout(0)
    return listener
