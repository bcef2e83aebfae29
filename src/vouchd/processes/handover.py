"""What a manager process hands to its successor through `exec`: open sockets, the PID file's lock, its workers.

`exec` keeps the process: the children stay its children and the descriptors stay open, so no connection and no lock is
lost. What they are is told in one environment variable.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from vouchd.errors import LifecycleError

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
    """All numbers are descriptors but where a name says otherwise; `kept` are the counters of ended workers."""

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

    def descriptors(self) -> tuple[int, ...]:
        """All descriptors that have to stay open."""
        agent = (self.agent,) if self.agent >= 0 else ()
        return (*self.sockets, self.health, *agent, self.lock, *(worker.control for worker in self.workers))


def execute(handover: Handover, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Become `command`, which takes over; returns only by raising OSError, with nothing changed."""
    for descriptor in handover.descriptors():
        os.set_inheritable(descriptor, True)  # noqa: FBT003  the standard library's signature
    try:
        told = {**environment, VARIABLE: json.dumps(asdict(handover))}
        os.execvpe(command[0], list(command), told)  # noqa: S606  no shell is wanted
    finally:
        for descriptor in handover.descriptors():
            os.set_inheritable(descriptor, False)  # noqa: FBT003


def received(environment: MutableMapping[str, str]) -> Handover | None:
    """What the predecessor handed over, once: it is taken out of the environment. Raises: LifecycleError."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        found = json.loads(text)
        found["sockets"] = tuple(found["sockets"])
        found["workers"] = tuple(HandedWorker(**_known(HandedWorker, worker)) for worker in found["workers"])
        handover = Handover(**_known(Handover, found))
        for descriptor in handover.descriptors():
            os.set_inheritable(descriptor, False)  # noqa: FBT003
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LifecycleError(f"{VARIABLE} is not a handover of this version", hint="stop and start instead") from error
    return handover


def _known(kind: type[Handover | HandedWorker], found: dict[str, Any]) -> dict[str, Any]:
    """What `kind` has a field for: a predecessor of a newer version may tell more."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in found.items() if name in names}


def socket_of(descriptor: int) -> socket.socket:
    """The listening socket of an inherited descriptor."""
    listener = socket.socket(fileno=descriptor)
    listener.settimeout(0)
    return listener
