"""What shows that a CRL in a store is what the store says of it, found by one process or, of many CRLs, by several.

How several do it: the documents are read here, where the store is open, a lot of small ones at a time. `outcomes` has
the lot judged, by as many processes as there are processors where it pays (`instance/selftests/shares`), each of which
says by which key it verified the CRL.

Why this is right: it is the same judgement, made by a process of this member that is a fork of this one, over octets,
facts and certificates that this one had read. All that it may write is an index file that is missing: whole or not at
all, and the same whoever writes it. Only what a process has verified is taken from it. What was refused, or
could not be read, or was told of by nobody, is no proof: whoever asks for all of them judges that CRL itself, and so
says why it is refused as where there is one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from vouchd.core.acceptance import FUTURE_TOLERANCE_SECONDS, judge_issuer
from vouchd.core.facts import Authority, CRLRecord, Epoch
from vouchd.core.key_history import name_of
from vouchd.errors import CRLRejected, NotFound, StoreUnavailable, VouchdError
from vouchd.pkix import certs
from vouchd.pkix.crl import CRLHeader, read_header
from vouchd.pkix.crl_entries import packed_entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.packed import WIDEST
from vouchd.service.arrivals import recipients

LEAST = 100  # CRLs for which it pays: fewer are judged one by one, and each is followed on its way (service/tracing)
_SMALL_OCTETS = 64 << 10  # a larger CRL is judged by itself: of those there are few
_LOT_OCTETS = 16 << 20  # of documents that are in memory together

# What each check returned or raised, by its name, whichever process made it.
Outcomes = Callable[[Mapping[str, Callable[[], str]]], Mapping[str, str | VouchdError]]


class Documents(Protocol):
    """What is stored of the CRLs, and their index files."""

    def document(self, record: CRLRecord) -> Buffer:
        """The bytes of a CRL, which are those that its facts name. Raises: CRLRejected, NotFound, StoreUnavailable."""

    def build_of(
        self, authority: Authority, epoch: Epoch, record: CRLRecord, document: Callable[[CRLRecord], Buffer]
    ) -> int:
        """Make the index file of one CRL of the epoch; returns how many serials that lists."""

    def is_indexed(self, epoch: Epoch) -> bool:
        """Whether the index files of the epoch are there and whole, so that none of its CRLs is wanted for them."""


class Proof(NamedTuple):
    """What a CRL was verified by: one of these certificates of its CA, of which one with this key identifier."""

    issuers: frozenset[bytes]
    idp_der: bytes
    issuer_key: str


class StoredCRL(NamedTuple):
    """One CRL of an epoch of a CA, as the store has them."""

    authority: Authority
    epoch: Epoch
    record: CRLRecord


class Ahead(CRLRejected):
    """A time that lies ahead of this member's clock, until that is at `passes_at`."""

    def __init__(self, message: str, moment: int) -> None:
        super().__init__(message, hint="compare the clocks of the members: `vouchd status` tells how they differ")
        self.passes_at = moment - FUTURE_TOLERANCE_SECONDS


def issuers_of(authority: Authority) -> frozenset[bytes]:
    """What decides whose CRLs are the CA's."""
    return frozenset((*authority.certificates, *authority.policy.crl_issuers))


def proof_of(
    authority: Authority, epoch: Epoch, record: CRLRecord, crl: Buffer, documents: Documents, at: int
) -> Proof:
    """What shows that a CRL that another process or member took in is what the store says of it."""
    header = read_header(crl)
    _require_told(authority, record, epoch, crl, header)
    if header.this_update > at + FUTURE_TOLERANCE_SECONDS:
        raise Ahead("thisUpdate is in the future", header.this_update)
    issuer_der = judge_issuer(crl, header, recipients(header, [authority])[0].issuers)
    if record.entry_count != documents.build_of(authority, epoch, record, lambda _: crl):
        _require_counted(record, crl, header, name_of(authority))
    return Proof(issuers_of(authority), epoch.idp_der, certs.key_id(issuer_der))


def _require_told(authority: Authority, record: CRLRecord, epoch: Epoch, crl: Buffer, header: CRLHeader) -> None:
    """Raise CRLRejected unless the facts say of the CRL what it says.

    Facts of earlier versions do not know that a CRL may be of one key alone; of a CA with one key that is no
    difference.
    """
    scope_id, key_only = epoch.issuing_point.scope_id, epoch.key_only
    if not epoch.issuer_key and len({certs.key_id(one) for one in authority.certificates}) == 1:
        scope_id = header.point_scope_id if scope_id == header.scope.scope_id else scope_id
        key_only = header.key_index is not None
    is_delta = record is epoch.delta
    pairs = {
        "size": (record.size_bytes, len(crl)),
        "thisUpdate": (record.this_update, header.this_update),
        "nextUpdate": (record.next_update, header.next_update),
        "CRL number": (record.crl_number, header.crl_number),
        "base CRL number": (record.base_crl_number, header.base_crl_number),
        "scope": ((scope_id, epoch.idp_der), (header.point_scope_id, header.scope.idp_der)),
        "key": (key_only, header.key_index is not None),
        "kind": (is_delta, header.is_delta),
    }
    wrong = [name for name, (facts, said) in pairs.items() if facts != said]
    if wrong:
        raise CRLRejected(f"the facts are not what the CRL says: {', '.join(wrong)}")


def _require_counted(record: CRLRecord, crl: Buffer, header: CRLHeader, certificate_issuer: bytes) -> None:
    """The entries are as many as the facts say; a serial that is listed twice was counted once or twice."""
    listed = sum(map(len, packed_entries(crl, header, WIDEST, certificate_issuer)))
    if record.entry_count == listed:
        return
    batches = packed_entries(crl, header, WIDEST, certificate_issuer)
    if record.entry_count != len({entry[: WIDEST.serial_width] for batch in batches for entry in batch}):
        raise CRLRejected(f"the facts tell of {record.entry_count} entries where the CRL has {listed}")


def proofs_by_many(
    crls: Sequence[StoredCRL], documents: Documents, at: int, outcomes: Outcomes | None
) -> Iterator[tuple[StoredCRL, Proof]]:
    """The small ones of these CRLs that are what the store says of them at POSIX second `at`, each with its proof.

    None without `outcomes`, and of fewer than `LEAST`. Raises: what a bug in a judgement does.
    """
    if outcomes is not None and len(crls) >= LEAST:
        for lot in _lots(crls, documents):
            checks = {f"{number}": partial(_verified_key, *one, documents, at) for number, one in enumerate(lot)}
            for (crl, _), key in zip(lot, outcomes(checks).values(), strict=True):
                if isinstance(key, str):
                    yield crl, Proof(issuers_of(crl.authority), crl.epoch.idp_der, key)


def _verified_key(crl: StoredCRL, document: Buffer, documents: Documents, at: int) -> str:
    return proof_of(*crl, document, documents, at).issuer_key


def _lots(crls: Iterable[StoredCRL], documents: Documents) -> Iterator[list[tuple[StoredCRL, Buffer]]]:
    """Those whose documents are small and can be read, with these, as many together as may be in memory."""
    lot: list[tuple[StoredCRL, Buffer]] = []
    octets = 0
    for crl in crls:
        if crl.record.size_bytes > _SMALL_OCTETS:
            continue
        with suppress(CRLRejected, NotFound, StoreUnavailable):
            lot.append((crl, documents.document(crl.record)))
            octets += len(lot[-1][1])
        if octets >= _LOT_OCTETS:
            yield lot
            lot, octets = [], 0
    if lot:
        yield lot
