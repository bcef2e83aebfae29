"""The listening sockets: bound once by the manager process, inherited by workers and kept through a restart."""

from __future__ import annotations

import socket

from vouchd.errors import LifecycleError

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
Address = tuple[str, int]


def bind_slots(address: Address, count: int) -> list[socket.socket]:
    """One listening socket for each of `count` workers, all on one address (SO_REUSEPORT).

    Port 0 lets the system choose one for all of them. Raises: LifecycleError.
    """
    probe(address)
    first = bind(address, shared=True)
    return [first, *add_slots(first, count - 1)]


def add_slots(first: socket.socket, count: int) -> list[socket.socket]:
    """`count` more sockets on the address of one that already listens. Raises: LifecycleError."""
    return [bind(bound_address(first), shared=True) for _ in range(count)]


def bind(address: Address, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared`: other sockets of this user may listen there too. Raises: LifecycleError."""
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
            listener.listen(BACKLOG)
            listener.settimeout(0)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise LifecycleError(
            f"cannot listen on {host} port {port}: {error.strerror or error}", hint="choose another port in CS.cfg"
        ) from error
    return listener


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
