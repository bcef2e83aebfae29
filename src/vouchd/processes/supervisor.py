"""The service manager that runs the manager process: the sockets it passes, and what it wants to be told.

How it works. A supervisor such as systemd speaks through the environment, to one process:
- `LISTEN_FDS` sockets, from descriptor 3 on, listen already when the process starts (`LISTEN_PID` says for which one
  they are meant, `LISTEN_FDNAMES` what each is for: `ocsp`, `health`, `agent`). So a port below 1024 needs no
  privilege here, and requests wait in the socket while the service is being started.
- At the datagram socket `NOTIFY_SOCKET` it is told `READY=1` once every worker answers, `RELOADING=1` when a restart
  begins, `STOPPING=1`, and a line for people (`STATUS=`).
- With `WATCHDOG_USEC` it wants to hear `WATCHDOG=1` at least that often, from the event loop: one that stands still is
  silent, and the process is started anew.

Why it is right. The variables of sockets are taken out of the environment, since descriptors of that number are other
ones after the next `exec`; those of the notices stay, since a restart is the same process. Nothing is told twice that
has not changed, and a supervisor that does not listen is no reason to end. See sd_listen_fds(3) and sd_notify(3).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

from vouchd.errors import LifecycleError

OCSP, HEALTH, AGENT = NAMES = ("ocsp", "health", "agent")
_FIRST_DESCRIPTOR = 3
_MICROSECONDS = 1_000_000
_STATUS_CHARACTERS = 200


def passed_sockets(environment: MutableMapping[str, str], process: int) -> dict[str, socket.socket]:
    """The listening sockets that were passed to `process`, by name; their variables are taken out of the environment.

    Raises: LifecycleError when one is named otherwise, or does not listen.
    """
    meant_for, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if meant_for != str(process) or not count.isdecimal() or not int(count):
        return {}
    hint = f"FileDescriptorName= of each socket unit is one of {', '.join(NAMES)}, each once"
    if len(names) != int(count) or len(set(names)) != len(names) or not set(names) <= set(NAMES):
        raise LifecycleError(f"sockets named {':'.join(names) or 'nothing'} were passed", hint=hint)
    return {name: _listening(name, _FIRST_DESCRIPTOR + number) for number, name in enumerate(names)}


def _listening(name: str, descriptor: int) -> socket.socket:
    hint = "ListenStream= of the socket unit names an address and a port; Accept=no"
    try:
        passed = socket.socket(fileno=descriptor)
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError as error:
        raise LifecycleError(f"descriptor {descriptor} is no socket {name}: {error.strerror}", hint=hint) from error
    if not listens or passed.family not in {socket.AF_INET, socket.AF_INET6}:
        raise LifecycleError(f"the passed socket {name} does not listen on a TCP port", hint=hint)
    passed.set_inheritable(False)
    passed.settimeout(0)
    return passed


class Supervisor:
    """Whoever started this process and wants to be told; nobody where the environment names none."""

    def __init__(self, environment: Mapping[str, str], process: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._last = ""
        interval = environment.get("WATCHDOG_USEC", "")
        wanted = (
            self._address and environment.get("WATCHDOG_PID", str(process)) == str(process) and interval.isdecimal()
        )
        # Half of what it waits for, so that one late turn of the loop ends nothing.
        self.watchdog_seconds = int(interval) / _MICROSECONDS / 2 if wanted else 0.0

    def ready(self, status: str) -> None:
        """Every worker answers; `status` is a line for people."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """A restart has begun, which ends with `ready`."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=restarting")

    def stopping(self) -> None:
        """No new connections are taken any more."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """The event loop turns."""
        self._send("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if state != self._last:
            self._last = state
            self._send(state)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(0)
            channel.sendto(state.encode(), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_CHARACTERS]
