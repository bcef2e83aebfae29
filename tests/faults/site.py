"""One responder's store, index folder and manifest in a folder, as it comes back after each restart."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from tests.pki import NOW
from tests.service.recording import AGENT, PUBLISHER, RecordingAudit

from vouchd.core.facts import Epoch
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import load_manifest
from vouchd.processes.publication import ManifestPublication
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.sqlite.store import SqliteStore


class Site:
    """Everything that takes a CRL to the point where workers load it; opening it again is a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "index"
        self.index.mkdir(exist_ok=True)
        self.audit = RecordingAudit()
        self.permission = Permission(self.audit)
        self.store = SqliteStore(folder / "store.sqlite")
        self.writer = IndexFolder(self.index)
        self.indexing = Indexing(self.store, self.writer)
        self.publication = ManifestPublication(self.store, self.indexing, self.index, lambda: nullcontext(True))
        self.publication.current()
        self.ingesting = Ingesting(self.store, self.indexing, self.permission, self.audit)

    def add_ca(self, certificate_der: bytes) -> None:
        Authorities(self.store, self.permission, self.audit).add(certificate_der, AGENT)

    def accept(self, crl: bytes, at: int = NOW) -> tuple[Epoch, ...]:
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, at)

    def publish(self) -> None:
        """What the manager does when the store has changed."""
        self.publication.publish()

    def begin_manifest(self) -> None:
        """Write the manifest whole: what comes next is a difference that is added to it."""
        self.publication.suspect_all(manifest=True)
        self.publication.publish()

    def served(self, serials: range = range(1, 100)) -> tuple[int | None, set[int]]:
        """What a worker answers from: the CRL number, and which of `serials` are revoked."""
        (authority,) = load_manifest(self.index).authorities
        (point,) = authority.points
        revoked = {serial for serial in serials if point.index.find(bytes((serial,)))}
        assert len(revoked) == len(point.index)
        return point.epoch.newest.crl_number, revoked

    def close(self) -> None:
        self.store.close()


def say_and_stay(word: str) -> None:
    """Tell the parent where this process is, and stay there to be killed."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()
    sys.stdin.read()
