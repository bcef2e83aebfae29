"""A master and a clone with a directory server each: what a test breaks of these and of their replication."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.ds389 import SUFFIX, Directory
from tests.faults.faulty_set import C, FaultySet, filled
from tests.processes.running import eventually
from tests.whole.clones import CloneSet

from vouchd.directory import replica
from vouchd.directory.config_entries import agreement_dn
from vouchd.directory.connection import Change
from vouchd.wiring import services as wiring


class FaultyDirectories(FaultySet):
    """`servers` are the members' directory servers, the clone's on the small file system `disk` of its own."""

    def __init__(self, site: CloneSet, servers: dict[str, Directory], disk: Path) -> None:
        super().__init__(site)
        self.servers = servers
        self.disk = disk

    @contextmanager
    def without_directory(self, member: str) -> Iterator[None]:
        """The directory server of a member is dead, as after a crash."""
        self.servers[member].kill()
        try:
            yield
        finally:
            self.servers[member].start()

    @contextmanager
    def hanging_directory(self, member: str) -> Iterator[None]:
        """The directory server of a member takes connections and answers nothing."""
        pid = self.servers[member].process.pid() or 0
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def full_directory(self) -> Iterator[None]:
        """The disk of the clone's directory server is full; without the right to mount one, it is dead at once.

        It ends itself when it has something to write, and is started when there is room again.
        """
        if os.geteuid():
            with self.without_directory(C):
                yield
            return
        with filled(self.disk):
            yield
        self.servers[C].start()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """The directory servers send each other nothing."""
        self._send(b"off")
        try:
            yield
        finally:
            self._send(b"on")

    def _send(self, state: bytes) -> None:
        for server in self.servers.values():
            with closing(server.admin()) as connection:
                for one in replica.agreements(connection, SUFFIX):
                    change = Change("replace", "nsds5ReplicaEnabled", (state,))
                    connection.modify(agreement_dn(SUFFIX, one.name), [change])

    def until_alike(self, *names: str) -> None:
        """Wait until both members give the same answers, to the last byte that is signed; they have the same facts."""
        one, other = self.servers

        def alike() -> bool:
            said = ((self.site.said(one, name), self.site.said(other, name)) for name in ("good", "bad", *names))
            return all(mine == theirs for mine, theirs in said)

        eventually(alike, "both members answer alike")
        assert self.facts(one) == self.facts(other)

    def facts(self, member: str) -> tuple[object, ...]:
        """What the directory of a member has of CAs and CRLs."""
        with wiring.services(self.site.layout(member)) as services:
            return services.store.authorities(), services.store.epochs()
