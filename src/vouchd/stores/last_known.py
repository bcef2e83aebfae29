"""The facts of the last serving manifest in place of a store that is away, for reading alone.

An instance starts, and tests itself, on what it answered from before: a directory server that is down must not keep its
responders from answering. Nothing is taken in on the strength of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vouchd.core.changes import Changes, PointFacts
from vouchd.core.facts import Authority, Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.key_history import issuer_names
from vouchd.core.ports import StatusStore
from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.index.manifest import load_manifest
from vouchd.pkix import names
from vouchd.pkix.der import Buffer

T = TypeVar("T")


class RememberingStore:
    """Keeps the contract of StatusStore; what the store cannot tell now is told from the manifest in `folder`."""

    def __init__(self, store: StatusStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def revision(self) -> int:
        """See StatusStore; one number for as long as the store is away."""
        return self._recalled(self._store.revision, lambda _: 0)

    def changes(self, since: int) -> Changes:
        """See StatusStore; while the store is away, all that is remembered."""
        return self._recalled(lambda: self._store.changes(since), _all)

    def authorities(self) -> tuple[Authority, ...]:
        """See StatusStore."""
        return self._recalled(self._store.authorities, lambda facts: facts[0])

    def authority(self, authority_id: str) -> Authority | None:
        """See StatusStore."""
        return self._recalled(
            lambda: self._store.authority(authority_id),
            lambda facts: next((one for one in facts[0] if one.id == authority_id), None),
        )

    def authorities_of(self, name_der: bytes) -> tuple[Authority, ...]:
        """See StatusStore."""
        return self._recalled(
            lambda: self._store.authorities_of(name_der),
            lambda facts: tuple(one for one in facts[0] if names.canonical(name_der) in issuer_names(one)),
        )

    def epochs(self) -> tuple[Epoch, ...]:
        """See StatusStore."""
        return self._recalled(self._store.epochs, lambda facts: facts[1])

    def epochs_of(self, authority_id: str) -> tuple[Epoch, ...]:
        """See StatusStore."""
        return self._recalled(
            lambda: self._store.epochs_of(authority_id),
            lambda facts: tuple(one for one in facts[1] if one.issuing_point.authority_id == authority_id),
        )

    def epoch(self, issuing_point: IssuingPointId) -> Epoch | None:
        """See StatusStore."""
        return self._recalled(
            lambda: self._store.epoch(issuing_point),
            lambda facts: next((one for one in facts[1] if one.issuing_point == issuing_point), None),
        )

    def quarantined(self) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore; no manifest tells of them."""
        return self._recalled(self._store.quarantined, lambda _: ())

    def quarantined_of(self, authority_id: str) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore; no manifest tells of them."""
        return self._recalled(lambda: self._store.quarantined_of(authority_id), lambda _: ())

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """See StatusStore."""
        self._store.put_authority(authority, documents)

    def put_authorities(self, authorities: Sequence[Authority]) -> None:
        """See StatusStore."""
        self._store.put_authorities(authorities)

    def remove_authority(self, authority_id: str) -> None:
        """See StatusStore."""
        self._store.remove_authority(authority_id)

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """See StatusStore."""
        self._store.commit_epoch(epoch, documents)

    def commit_epochs(self, commits: Sequence[tuple[Epoch, Mapping[str, Buffer]]]) -> None:
        """See StatusStore."""
        self._store.commit_epochs(commits)

    def retire(self, authority: Authority, scope_id: str) -> None:
        """See StatusStore."""
        self._store.retire(authority, scope_id)

    def high_water(self, issuing_point: IssuingPointId) -> tuple[int | None, int]:
        """See StatusStore."""
        return self._store.high_water(issuing_point)

    def document(self, sha256: str) -> bytes:
        """See StatusStore."""
        return self._store.document(sha256)

    def document_chunks(self, sha256: str) -> Iterator[bytes]:
        """See StatusStore."""
        return self._store.document_chunks(sha256)

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """See StatusStore."""
        self._store.put_quarantined(crl, document)

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """See StatusStore."""
        self._store.drop_quarantined(issuing_point)

    def close(self) -> None:
        """See StatusStore; the store is another one's to close."""

    def _recalled(
        self, ask: Callable[[], T], remembered: Callable[[tuple[tuple[Authority, ...], tuple[Epoch, ...]]], T]
    ) -> T:
        try:
            return ask()
        except StoreUnavailable as error:
            try:
                state = load_manifest(self._folder)
            except IndexFileError:
                raise error from None
        epochs = sorted(
            (point.epoch for served in state.authorities for point in served.points),
            key=lambda epoch: epoch.issuing_point,
        )
        return remembered((tuple(served.authority for served in state.authorities), tuple(epochs)))


def _all(facts: tuple[tuple[Authority, ...], tuple[Epoch, ...]]) -> Changes:
    authorities, epochs = facts
    points = {epoch.issuing_point: PointFacts(epoch) for epoch in epochs}
    return Changes(0, {authority.id: authority for authority in authorities}, points, whole=True)
