"""Whether a CRL changes so much that an operator should look at it first.

Only a CA whose policy has `quarantine_percent` is guarded. To hold a CRL back fails open for what it revokes, so
entries that are gained count only where the policy says so. Guarded are: entries lost, beyond the share and the floor;
a time to nextUpdate that is many times what it was, which would keep a CRL in use for years; a CRL of a scope that the
CA has not had, beside others; a first CRL that speaks of serials that the CA has not issued.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from vouchd.core import issued
from vouchd.core.facts import Authority, AuthorityPolicy, CRLRecord, Epoch
from vouchd.core.key_history import name_of
from vouchd.core.ports import StatusStore
from vouchd.errors import CRLRejected
from vouchd.pkix.crl_entries import entries
from vouchd.service.arrivals import Received
from vouchd.service.indexing import Indexing

VALIDITY_FACTOR = 4
SAMPLED_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class Weight:
    """How many entries are lost and gained against the `before` that are in use; `why` it is abnormal, else empty."""

    lost: int = 0
    gained: int = 0
    before: int = 0
    why: str = ""


class Weighing:
    """Compares the epoch that a CRL would make with what is in use."""

    def __init__(self, store: StatusStore, indexing: Indexing) -> None:
        self._store = store
        self._indexing = indexing

    def weigh(self, authority: Authority, arrival: Received, current: Epoch | None, epoch: Epoch) -> Weight:
        """The weight of `epoch`, whose index file is there; `current` is None for the first CRL of its scope."""
        guarded = authority.policy.quarantine_percent is not None
        if current is None:
            return Weight(why=self._first(authority, arrival) if guarded else "")
        try:
            self._indexing.ensure_index(authority, current)
        except CRLRejected as error:  # of the CRL in use: this one may be what mends it
            return Weight(why=f"it cannot be held against the CRL in use: {error}" if guarded else "")
        lost, gained, before = self._indexing.difference(current, epoch)
        why = (_change(authority.policy, lost, gained, before) or _validity(current, epoch)) if guarded else ""
        return Weight(lost, gained, before, why)

    def _first(self, authority: Authority, arrival: Received) -> str:
        scope_id = arrival.header.point_scope_id
        if self._store.epochs_of(authority.id) and scope_id not in authority.policy.expected_scopes:
            return f"the CA has had no CRL of the scope {scope_id} yet"
        return self._strange(authority, arrival)

    def _strange(self, authority: Authority, arrival: Received) -> str:
        """Why a CRL of serials that the CA has not issued is abnormal."""
        sha256, percent = authority.policy.issued_serials, authority.policy.quarantine_percent or 0
        if sha256 is None:
            return ""
        listed = entries(arrival.crl, arrival.header, name_of(authority))
        strange = {entry.serial for entry in islice(listed, SAMPLED_ENTRIES)}
        total = len(strange)
        for serial in self._issued(sha256):
            strange.discard(serial)
        if len(strange) <= _allowed(authority.policy, total):
            return ""
        why = f"{len(strange)} of {total} entries are of serials that the CA has not issued"
        return f"{why}: more than {percent:g} %"

    def _issued(self, sha256: str) -> Iterator[bytes]:
        return issued.document_serials(self._store.document_chunks(sha256))


def _allowed(policy: AuthorityPolicy, of: int) -> float:
    return max(of * (policy.quarantine_percent or 0) / 100, policy.quarantine_entries)


def _change(policy: AuthorityPolicy, lost: int, gained: int, before: int) -> str:
    allowed = _allowed(policy, before)
    if lost <= allowed and (gained <= allowed or not policy.quarantine_gains):
        return ""
    return f"{lost} of {before} entries lost and {gained} gained: more than {policy.quarantine_percent or 0:g} %"


def _validity(current: Epoch, epoch: Epoch) -> str:
    """Why a time to nextUpdate is abnormal: of the base and of the delta, the first of which is held against the base.

    Each by itself: a base may come under a delta that stays, and the newest of the two says how long both are used.
    """
    pairs = [(current.base, epoch.base)]
    if epoch.delta is not None:
        pairs.append((current.delta or current.base, epoch.delta))
    return next((why for before, after in pairs if (why := _longer(before, after))), "")


def _longer(before: CRLRecord, after: CRLRecord) -> str:
    usual, new = _span(before), _span(after)
    if after.sha256 == before.sha256 or usual is None:
        return ""
    if new is None:
        return "it names no nextUpdate, where the one in use does"
    if new <= VALIDITY_FACTOR * usual:
        return ""
    return f"it is to be used for {new} seconds, where {usual} were usual"


def _span(crl: CRLRecord) -> int | None:
    return None if crl.next_update is None else crl.next_update - crl.this_update
