"""Documents in chunk entries of at most 1 MiB: one value of several megabytes would break a replica's TLS set-up.

Entries are named by content, so two members that store one document write the same. Chunks come before the fact that
names the document, and a supplier's changes arrive in order: whoever sees the fact has the chunks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress

from vouchd.directory.connection import Change, Connection, Connections
from vouchd.directory.schema import CHUNK, CHUNKS, DOCUMENT_SIZE
from vouchd.errors import AlreadyExists, NotFound, StoreUnavailable
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import CHUNK_BYTES

# Longer than any member takes to write or to read one document.
GRACE_SECONDS = 3600
# Two suppliers that stored one document at one time have each chunk twice, the second as a replication conflict.
_ALL = "(|(objectClass=vouchdDocumentChunk)(&(objectClass=ldapSubEntry)(nsds5ReplConflict=*)))"


class ChunkedDocuments:
    """Documents by SHA-256 (hex) below ou=chunks of the suffix."""

    def __init__(self, connections: Connections, suffix: str) -> None:
        self._connections = connections
        self._base = f"{CHUNKS},{suffix}"

    def put(self, connection: Connection, sha256: str, document: Buffer) -> None:
        """Store the document; chunks that are there are used again, and kept from being collected."""
        view = memoryview(document)
        now = str(int(time.time()))
        for number, start in enumerate(range(0, max(view.nbytes, 1), CHUNK_BYTES)):
            dn = self._dn(sha256, number)
            piece = bytes(view[start : start + CHUNK_BYTES])
            try:
                connection.add(
                    dn,
                    {
                        "objectClass": ["top", "vouchdDocumentChunk"],
                        "cn": [_name(sha256, number)],
                        DOCUMENT_SIZE: [str(view.nbytes)],
                        CHUNK: [piece] if piece else [],
                        "description": [now],
                    },
                )
            except AlreadyExists:
                connection.modify(dn, [Change("replace", "description", (now.encode(),))])

    def has(self, connection: Connection, sha256: str) -> bool:
        """Whether the document is there."""
        return connection.read(self._dn(sha256, 0), ["cn"]) is not None

    def chunks(self, sha256: str) -> Iterator[bytes]:
        """The document in pieces, in order. Raises: StoreUnavailable when a piece is missing or damaged."""
        digest = hashlib.sha256()
        number, size, done = 0, 0, 0
        while done < size or number == 0:
            with self._connections.connection() as connection:
                entry = connection.read(self._dn(sha256, number), [CHUNK, DOCUMENT_SIZE], large=True)
            if entry is None:
                raise StoreUnavailable(
                    f"document {sha256} is not whole", hint="replication may be under way; it is tried again"
                )
            size = int(entry.text(DOCUMENT_SIZE))
            piece = (entry.all(CHUNK) or (b"",))[0]
            digest.update(piece)
            number, done = number + 1, done + len(piece)
            if piece:
                yield piece
            elif size:
                raise StoreUnavailable(f"document {sha256} is damaged")
        if digest.hexdigest() != sha256:
            raise StoreUnavailable(f"document {sha256} is damaged")

    def collect(self, connection: Connection, named: frozenset[str], now: float) -> int:
        """Delete the chunks of documents that nothing names and nobody used of late; how many those were."""
        gone = 0
        for entry in connection.search(
            self._base, scope="one", query=_ALL, attributes=["cn", "description", "objectClass"]
        ):
            sha256 = entry.text("cn").rpartition("-")[0]
            old = int(entry.text("description", "0")) + GRACE_SECONDS < now
            if old and (entry.is_conflict or sha256 not in named):
                with suppress(NotFound):  # another member was quicker
                    connection.delete(entry.dn)
                gone += 1
        return gone

    def _dn(self, sha256: str, number: int) -> str:
        return f"cn={_name(sha256, number)},{self._base}"


def _name(sha256: str, number: int) -> str:
    return f"{sha256}-{number:05}"
