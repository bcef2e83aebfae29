"""The listening sockets, and how many connections the process has descriptors for.

Sockets are bound once by the manager process, inherited by workers and kept through a restart. Strangers open
connections, and what the process needs to do its work are descriptors too (an index of each issuing point, the store):
so connections end where twice of what else is open, and some more, would not be left.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Sequence
from pathlib import Path

from vouchd.errors import LifecycleError

_PRIVILEGED = (
    "ports below 1024 are root's: let systemd open it (`vouchd service install NAME --socket ocsp`), lower "
    "net.ipv4.ip_unprivileged_port_start, or put a proxy before it; docs/operate/services.md tells each"
)
BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
Address = tuple[str, int]


def bind_slots(address: Address, count: int) -> list[socket.socket]:
    """One socket for each of `count` workers, all on one address (SO_REUSEPORT); `listen` has them listen.

    Port 0 lets the system choose one for all of them. Raises: LifecycleError.
    """
    probe(address)
    first = bind(address, shared=True)
    return [first, *add_slots(first, count - 1)]


def add_slots(first: socket.socket, count: int) -> list[socket.socket]:
    """`count` more sockets on the address of that one; `listen` has them listen. Raises: LifecycleError."""
    return [bind(bound_address(first), shared=True) for _ in range(count)]


def listen(slots: Sequence[socket.socket]) -> None:
    """Have sockets listen that were bound to be shared. Raises: LifecycleError."""
    for slot in slots:
        try:
            slot.listen(BACKLOG)
        except OSError as error:
            raise _cannot_listen(bound_address(slot), error) from error


def bind(address: Address, *, shared: bool = False) -> socket.socket:
    """A listening socket. Raises: LifecycleError.

    With `shared` it is one of several of this user on that address, and does not listen yet.
    """
    host, port = address
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = addresses[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(where)
            if not shared:
                listener.listen(BACKLOG)
            listener.settimeout(0)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise _cannot_listen(address, error) from error
    return listener


def _cannot_listen(address: Address, error: OSError) -> LifecycleError:
    host, port = address
    denied = error.errno == errno.EACCES
    return LifecycleError(
        f"cannot listen on {host} port {port}: {error.strerror or error}",
        hint=_PRIVILEGED if denied else "choose another port in CS.cfg",
    )


def probe(address: Address, *, in_use: Address | None = None) -> None:
    """See whether `address` is free; `in_use` is our own. Raises: LifecycleError.

    SO_REUSEPORT alone would let two instances of one user share a port, each with its own answers.
    """
    if address[1] and address != in_use:
        bind(address).close()


def bound_address(listener: socket.socket) -> Address:
    """The (address, port) that a socket listens on."""
    host, port = listener.getsockname()[:2]
    return host, port


# Left free beside what is open and as much again: sockets of sources and peers, logs, a store that is opened anew.
SPARE_DESCRIPTORS = 64
_MOST_DESCRIPTORS = 1 << 20  # enough, where the hard limit is as good as none

_OPEN = Path("/proc/self/fd")


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors as far as this process may; returns what it is now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if descriptor_limit() < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def free_descriptors() -> int:
    """How many more descriptors this process may open."""
    return descriptor_limit() - _opened()


def _opened() -> int:
    try:
        return sum(1 for _ in _OPEN.iterdir())
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        return descriptor_limit()  # not one is left to look with


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def connection_room(connections: int) -> int:
    """How many connections there may be, of which `connections` are open: what is left of the limit, at least one.

    All else that is open may be opened once more at the same time: an index takes the place of its predecessor.
    """
    others = _opened() - connections
    return max(1, descriptor_limit() - 2 * others - SPARE_DESCRIPTORS)
