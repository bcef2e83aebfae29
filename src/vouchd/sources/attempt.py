"""One attempt to fetch: a deadline for all of it, and the connection that keeps it.

A time limit for each read is none for the whole: a server that sends an octet now and then keeps every one of them. So
each step (name look-up, connecting, TLS, sending, each read) gets what is left of one deadline.
"""

from __future__ import annotations

import io
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vouchd.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Where a cloud answers any program on the host with the host's own credentials; not link-local, as 169.254.169.254 is.
_METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})


class Deadline:
    """The end of one attempt at `url`, `seconds` from now."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, more than none. Raises: SourceError when it has passed."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> SourceError:
        """What is said when it has passed."""
        return SourceError(
            f"{self.url}: took longer than {self._seconds:g} s", hint="a slow server may need a longer timeoutInSec"
        )

    @contextmanager
    def step(self) -> Iterator[float]:
        """A step of the attempt, which may block for the seconds that it is handed. Raises: SourceError."""
        left = self.left()
        try:
            yield left
        except TimeoutError as error:
            raise self.passed() from error


def look_up(host: str, port: int, deadline: Deadline) -> tuple[tuple[str, int], ...]:
    """Addresses and port of a host, in the order in which to try them. Raises: OSError, SourceError.

    The look-up itself cannot be ended; one that outlives the deadline is left to the system's own time limit.
    """
    outcome: queue.SimpleQueue[list[tuple[str, int]] | OSError] = queue.SimpleQueue()

    def work() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            outcome.put(error)
        else:
            outcome.put([(str(entry[4][0]), int(entry[4][1])) for entry in entries])

    threading.Thread(target=work, daemon=True).start()
    try:
        result = outcome.get(timeout=deadline.left())
    except queue.Empty:
        raise SourceError(f"{deadline.passed()}, in looking up {host}") from None
    if isinstance(result, OSError):
        raise result
    return tuple(dict.fromkeys(result))


def is_of_this_host(address: str) -> bool:
    """Whether an address leads to this host, its link or its cloud's metadata, and so to what trusts this host."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip in _METADATA


class Wire:
    """A connection to the first of the addresses that takes one; all that it does ends with the deadline.

    It is what `http.client` needs of a socket: `sendall`, `makefile`, `close`. All of them raise OSError, SourceError.
    """

    def __init__(self, addresses: tuple[tuple[str, int], ...], deadline: Deadline) -> None:
        """Raises: OSError, SourceError."""
        self._deadline = deadline
        self._socket = self._connected(addresses)

    def _connected(self, addresses: tuple[tuple[str, int], ...]) -> socket.socket:
        """Each address gets an equal share of the time that is left, so that a dead one leaves some to the next."""
        problem: OSError = OSError("the host has no address")
        for place, address in enumerate(addresses):
            share = self._deadline.left() / (len(addresses) - place)
            try:
                return socket.create_connection(address, share)
            except OSError as error:
                problem = error
        self._deadline.left()
        raise problem

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, with a server that proves to be `host`."""
        with self._deadline.step() as left:
            wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = wrapped
            wrapped.settimeout(left)
            wrapped.do_handshake()

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        with self._deadline.step() as left:
            self._socket.settimeout(left)
            self._socket.sendall(data)

    def recv_into(self, buffer: WriteableBuffer) -> int:
        """Wait for octets and take as many as have come; 0 when the other side has ended."""
        with self._deadline.step() as left:
            self._socket.settimeout(left)
            return self._socket.recv_into(buffer)

    def makefile(self, _mode: str = "rb", *_: object) -> io.BufferedReader:
        """A file that reads from it."""
        return io.BufferedReader(_Reading(self))

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._socket.close()


class _Reading(io.RawIOBase):
    """The octets that come over a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._wire.recv_into(buffer)
