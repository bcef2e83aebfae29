"""Directory servers that are set up as instances do it: with their own accounts, one replication password."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.ds389 import PASSWORD, ROOT_DN, Directory, directories
from tests.processes.running import eventually

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory import replica
from vouchd.directory.connection import Connection, Credentials
from vouchd.directory.setup import SetUp, set_up
from vouchd.errors import StoreUnavailable

REPLICATION_PASSWORD = "one-password-for-the-whole-set"


@dataclass
class Node:
    """One server of a set, with a connection of its instance's account."""

    directory: Directory
    server: DirectoryServer
    made: SetUp

    def admin(self) -> Connection:
        """A connection of the Directory Manager."""
        return Connection(self.server, Credentials(ROOT_DN, PASSWORD), self.directory.trust)

    def connection(self) -> Connection:
        """A connection of the instance's account."""
        return Connection(self.server, Credentials(self.made.bind_dn, self.made.password), self.directory.trust)


def prepare(directory: Directory, transport: Transport, replica_id: int | None, *, clone: bool) -> Node:
    """Do what `vouchd directory setup` does."""
    server = directory.server(transport, replica_id)
    admin = eventually(lambda: _admin(server, directory), "the server takes a connection")  # its first TLS may be slow
    try:
        made = set_up(admin, server, clone=clone, replication_password=REPLICATION_PASSWORD)
    finally:
        admin.close()
    return Node(directory, server, made)


def _admin(server: DirectoryServer, directory: Directory) -> Connection | None:
    with suppress(StoreUnavailable):
        return Connection(server, Credentials(ROOT_DN, PASSWORD), directory.trust)
    return None


@contextmanager
def nodes(count: int, transport: Transport = Transport.PLAIN) -> Iterator[list[Node]]:
    """Servers set up as replicas 1, 2, …, the first with the suffix; no agreement between them yet."""
    hosts = [f"ds{number}.vouchd.test" for number in range(1, count + 1)]
    with directories(*hosts, tls=transport is not Transport.PLAIN) as servers:
        yield [prepare(each, transport, number + 1, clone=number > 0) for number, each in enumerate(servers)]


def join(supplier: Node, consumer: Node, **options) -> None:
    """Agreements both ways, and the consumer's data from the supplier."""
    suffix = supplier.server.suffix
    for one, other in ((supplier, consumer), (consumer, supplier)):
        connection = one.connection()
        replica.agree(connection, suffix, other.server, REPLICATION_PASSWORD)
        connection.close()
    connection = supplier.connection()
    replica.initialise(connection, suffix, consumer.server, **options)
    connection.close()


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it holds within the deadline; asked again and again."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        pause.wait(0.02)
    return True


def chunk(node: Node, name: str) -> str:
    """Add an entry as the store does; its DN."""
    dn = f"cn={name},ou=chunks,{node.server.suffix}"
    connection = node.connection()
    connection.add(dn, {"objectClass": ["vouchdDocumentChunk"], "cn": [name]})
    connection.close()
    return dn


def fill(node: Node, megabytes: int) -> str:
    """Give a server so much that filling another one takes a while; the DN of the last entry."""
    connection = node.connection()
    for number in range(megabytes):
        dn = f"cn=big{number},ou=chunks,{node.server.suffix}"
        values = {"cn": [f"big{number}"], "vouchdChunk": [bytes([number]) * (1 << 20)]}
        connection.add(dn, {"objectClass": ["vouchdDocumentChunk"], **values})
    connection.close()
    return dn


def arrives(node: Node, dn: str) -> bool:
    """Whether the entry is at the node within the deadline of all such waits."""
    connection = node.connection()
    try:
        return until(lambda: connection.read(dn, ["cn"]) is not None)
    finally:
        connection.close()
