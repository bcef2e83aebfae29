"""The entry of one CA in the directory: read into facts, and the changes that keep it readable by both programs.

Every epoch that was committed and not yet superseded is one value: where two suppliers commit at one time replication
makes the union of their values, and every reader takes the newest (core/facts.py).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography import x509

from vouchd.core import records
from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId, QuarantinedCRL, newest
from vouchd.directory.connection import Change, Connection, Entry, escaped
from vouchd.directory.schema import AUTHORITY, EPOCH, HIGH_WATER, QUARANTINED, REMOVAL, STAMP
from vouchd.errors import StoreError
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.stores.rules import (
    CHUNK_BYTES,
    NO_HIGH_WATER,
    HighWater,
    crl_hashes,
    documents_of,
    mark_after,
    no_issuing_point,
    risen,
)

T = TypeVar("T")

_MARK = re.compile(rb"(?P<scope>.*):(?P<number>[0-9]{0,60}):(?P<update>[0-9]{1,12})", re.DOTALL)
CERTIFICATE = "cACertificate;binary"
BASE_CRL = "certificateRevocationList;binary"
DELTA_CRL = "deltaRevocationList;binary"
# All but the CRLs, which may be of a megabyte.
SMALL = ("cn", AUTHORITY, EPOCH, STAMP, QUARANTINED, HIGH_WATER, REMOVAL, "cACertificate")
OF_AUTHORITIES = f"(&(objectClass=vouchdIssuingPoint)({AUTHORITY}=*))"
# Entries of CAs that were removed, and not deleted yet.
OF_REMOVED = f"(&(objectClass=vouchdIssuingPoint)(!({AUTHORITY}=*)))"
# Entries that lost their name to one that another supplier added at the same time: hidden from ordinary searches.
OF_CONFLICTS = f"(&(objectClass=ldapSubEntry)(nsds5ReplConflict=*)({AUTHORITY}=*))"


@dataclass(frozen=True, slots=True)
class Held:
    """What the entry of one CA holds; `epochs` may be several of one issuing point after a concurrent commit.

    `record` is what stands there of the CA, None where that is damaged; `authority` is the CA as it is believed,
    `believed` whether there is one, `doubtful` whether what stands there is another. `damaged` are values of epochs and
    quarantine that cannot be read: they count for nothing, so that they cost the CA what they stood for and no other
    CA anything. `gone`: it was taken out of the directory, and no member has sealed that it is to be.
    """

    dn: str
    names: tuple[str, ...]
    record: dict[str, Any] | None
    authority: Authority
    stamps: tuple[bytes, ...]
    epochs: tuple[tuple[bytes, Epoch], ...]  # the value as it is stored, and what it says
    quarantined: tuple[tuple[bytes, QuarantinedCRL], ...]
    marks: tuple[bytes, ...]
    damaged: tuple[tuple[str, bytes], ...] = ()
    believed: bool = True
    doubtful: bool = False
    gone: bool = False

    @classmethod
    def lost(cls, authority: Authority, suffix: str) -> Held:
        """A CA that is believed, and of which nothing is stored."""
        name, _ = names_of(authority)
        return cls(f"cn={escaped(name)},{suffix}", (name,), None, authority, (), (), (), (), gone=True)

    @classmethod
    def stored(cls, entry: Entry) -> Held:
        """The entry as it stands there, read with the attributes SMALL; a CA that is damaged has no record."""
        record, authority = _authority(entry)
        epochs, broken = _readable(EPOCH, entry.all(EPOCH), records.read_epoch)
        quarantined, unreadable = _readable(QUARANTINED, entry.all(QUARANTINED), records.read_quarantined)
        return cls(
            dn=entry.dn,
            names=tuple(value.decode(errors="replace") for value in entry.all("cn")),
            record=record,
            authority=authority,
            stamps=entry.all(STAMP),
            epochs=epochs,
            quarantined=quarantined,
            marks=entry.all(HIGH_WATER),
            damaged=(*broken, *unreadable),
            believed=record is not None,
        )

    def is_of_another(self, other: Held) -> bool:
        """Whether it can be read, and is of another CA."""
        return self.record is not None and self.authority.id != other.authority.id

    def current(self) -> tuple[Epoch, ...]:
        """The current epoch of each issuing point, ordered by issuing point."""
        return newest(epoch for _, epoch in self.epochs)

    def epoch(self, point: IssuingPointId) -> Epoch | None:
        """The current epoch of one issuing point."""
        return next((epoch for epoch in self.current() if epoch.issuing_point == point), None)

    def high_water(self, point: IssuingPointId) -> HighWater:
        """The mark of one issuing point: no epoch that is held is above it."""
        mark = highest(self.marks, point.scope_id)
        ours = [epoch for _, epoch in self.epochs if epoch.issuing_point == point]
        numbering = max((epoch.renumbered for epoch in ours), default=0)
        for epoch in ours:
            if epoch.renumbered == numbering:  # one that was overtaken by lower numbers says nothing any more
                mark = risen(mark, epoch)
        return mark

    def named(self) -> frozenset[str]:
        """The documents that current facts name."""
        names = {name for epoch in self.current() for name in documents_of(epoch)}
        names |= {crl.record.sha256 for _, crl in self.quarantined}
        serials = self.authority.policy.issued_serials
        return frozenset(names | ({serials} if serials else set()))

    def crls_in_entry(self) -> dict[str, str]:
        """The attribute of each CRL that is a value of the entry, by SHA-256 (hex)."""
        return {sha256: attribute for _, epoch in self.epochs for attribute, sha256 in crls_in_entry(epoch)}

    def crl(self, connection: Connection, sha256: str) -> bytes | None:
        """The CRL of that SHA-256 (hex) when it is a value of the entry."""
        attribute = self.crls_in_entry().get(sha256)
        entry = connection.read(self.dn, [attribute], large=True) if attribute else None
        values = entry.all(attribute.split(";")[0]) if entry and attribute else ()
        return next((value for value in values if hashlib.sha256(value).hexdigest() == sha256), None)

    def crls_changed(self, epoch: Epoch) -> list[tuple[str, frozenset[str], str | None]]:
        """For each CRL attribute: the CRLs that `epoch` makes superfluous there, and the one to add if there is one."""
        before = [crls_in_entry(each) for _, each in self.epochs if each.issuing_point == epoch.issuing_point]
        after = dict(crls_in_entry(epoch))
        changed = []
        for attribute in (BASE_CRL, DELTA_CRL):
            old = frozenset(sha256 for crls in before for name, sha256 in crls if name == attribute)
            new = after.get(attribute)
            changed.append((attribute, old - {new or ""}, None if new in old else new))
        return changed

    def restamped(self) -> list[Change]:
        """The change that fails, and all others of its operation with it, when the entry is not as it was read."""
        return restamped(self.stamps)


_NONE = Authority("", b"", "")


def _authority(entry: Entry) -> tuple[dict[str, Any] | None, Authority]:
    """The record of the CA with its certificate, and the CA."""
    certificate = base64.b64encode((entry.all("cACertificate") or (b"",))[0]).decode()
    try:
        record = records.from_json(entry.text(AUTHORITY), lambda value: value | {"certificate": certificate})
        return record, records.from_record(record, records.read_authority)
    except StoreError:
        return None, _NONE


def _readable(
    attribute: str, values: Iterable[bytes], read: Callable[[records.Record], T]
) -> tuple[tuple[tuple[bytes, T], ...], list[tuple[str, bytes]]]:
    """The values with what they say, and those that say nothing."""
    good, broken = [], []
    for value in values:
        try:
            good.append((value, records.from_json(value, read)))
        except StoreError:
            broken.append((attribute, value))
    return tuple(good), broken


def restamped(stamps: tuple[bytes, ...]) -> list[Change]:
    """The changes that replace the stamps that were read; who has deleted them all stands in nobody's way."""
    gone = [Change("delete", STAMP, stamps)] if stamps else []
    return [*gone, Change("add", STAMP, (new_stamp(),))]


def new_stamp() -> bytes:
    """A value that no one else writes."""
    return secrets.token_hex(12).encode()


def fact_of(record: Mapping[str, Any]) -> bytes:
    """The value of the record of an authority; its certificate stands in an attribute of its own."""
    return records.to_json({name: value for name, value in record.items() if name != "certificate"}).encode()


def names_of(authority: Authority) -> tuple[str, str]:
    """The `cn` of a CA's entry, and the one that it has when another CA of the same name has the first."""
    name = folded(authority.certificate_der, authority.id)
    return name, f"{name}_{authority.id[:16]}"


def entry_values(name: str, authority: Authority, record: Mapping[str, Any]) -> dict[str, list[bytes | str]]:
    """The attributes of the new entry `name` of a CA with that record."""
    return {
        "objectClass": ["top", "crlIssuingPointRecord", "vouchdIssuingPoint"],
        "cn": [name],
        AUTHORITY: [fact_of(record)],
        STAMP: [new_stamp()],
        CERTIFICATE: [authority.certificate_der],
    }


def folded(certificate_der: bytes, authority_id: str) -> str:
    """The `cn` that the Certificate System gives a CA: its subject name, commas as `_` and equals signs as `-`."""
    try:
        name = x509.load_der_x509_certificate(certificate_der).subject.rfc4514_string()
    except ValueError:
        return authority_id
    return name.replace(",", "_").replace("=", "-") or authority_id


def stands_in_entry(point: IssuingPointId, record: CRLRecord) -> bool:
    """Whether the CRL is a value of the CA's entry; else it is in chunks: see stores/ldap/documents.py."""
    return point.scope_id == COMPLETE_SCOPE and record.size_bytes <= CHUNK_BYTES


def committed(ca_entry: Held, epoch: Epoch) -> list[Change]:
    """The changes that make `epoch` the only one of its issuing point, and release the CRLs it contains."""
    point = epoch.issuing_point
    old = tuple(value for value, each in ca_entry.epochs if each.issuing_point == point)
    released = tuple(
        value
        for value, crl in ca_entry.quarantined
        if crl.issuing_point == point and crl.record.sha256 in crl_hashes(epoch)
    )
    return [
        *([Change("delete", EPOCH, old)] if old else []),
        Change("add", EPOCH, (records.to_json(records.epoch_record(epoch)).encode(),)),
        *([Change("delete", QUARANTINED, released)] if released else []),
        *(Change("delete", attribute, (value,)) for attribute, value in ca_entry.damaged),
        *mark_values(
            point.scope_id, ca_entry.marks, mark_after(ca_entry.high_water(point), epoch, ca_entry.epoch(point))
        ),
    ]


def retired(entry: Held, record: Mapping[str, Any], scope_id: str) -> list[Change]:
    """The changes that store the CA's `record` and take away its issuing point of that scope, but for the mark."""
    point = IssuingPointId(record["id"], scope_id)
    epochs = tuple(value for value, each in entry.epochs if each.issuing_point == point)
    held_back = tuple(value for value, crl in entry.quarantined if crl.issuing_point == point)
    if not epochs and not held_back:
        raise no_issuing_point(scope_id)
    current = entry.epoch(point)
    mirror = mirrored(current) if current else []
    return [
        Change("replace", AUTHORITY, (fact_of(record),)),
        *([Change("delete", EPOCH, epochs)] if epochs else []),
        *([Change("delete", QUARANTINED, held_back)] if held_back else []),
        *mark_values(scope_id, entry.marks, entry.high_water(point)),
        *(Change("replace", change.attribute, ()) for change in mirror),
    ]


def crls_in_entry(epoch: Epoch) -> tuple[tuple[str, str], ...]:
    """Attribute and SHA-256 (hex) of the CRLs of the epoch that are values of the CA's entry."""
    crls = [(BASE_CRL, epoch.base)] + ([(DELTA_CRL, epoch.delta)] if epoch.delta else [])
    return tuple((name, crl.sha256) for name, crl in crls if stands_in_entry(epoch.issuing_point, crl))


def mirrored(epoch: Epoch) -> list[Change]:
    """What the Certificate System reads of the epoch, in its spelling; a partition of a CA's CRLs is unknown to it."""
    if epoch.issuing_point.scope_id != COMPLETE_SCOPE:
        return []
    delta = epoch.delta
    values = {
        "crlNumber": _number(epoch.base.crl_number),
        "crlSize": _number(epoch.base.entry_count),
        "deltaNumber": _number(delta.crl_number) if delta else None,
        "deltaSize": _number(delta.entry_count) if delta else None,
        "thisUpdate": _time(epoch.this_update),
        "nextUpdate": _time(epoch.next_update),
        "dateOfModify": _time(epoch.accepted_at),
    }
    return [Change("replace", name, (value,) if value else ()) for name, value in values.items()]


def mark_values(scope_id: str, marks: Sequence[bytes], mark: HighWater) -> list[Change]:
    """The changes that leave `mark` as the only one of the scope among `marks`."""
    value = mark_value(scope_id, mark)
    old = tuple(each for each in marks if scope_of(each) == scope_id and each != value)
    changes = [Change("delete", HIGH_WATER, old)] if old else []
    return changes if value in marks else [*changes, Change("add", HIGH_WATER, (value,))]


def mark_value(scope_id: str, mark: HighWater) -> bytes:
    """A high-water mark as a value: `scope:CRL number:thisUpdate`, the number empty when there was none."""
    number, this_update = mark
    return f"{scope_id}:{'' if number is None else number}:{this_update}".encode()


def highest(marks: Iterable[bytes], scope_id: str) -> HighWater:
    """The highest of the marks of one scope, each part by itself."""
    numbers: list[int] = []
    updates = [NO_HIGH_WATER[1]]
    for mark in marks:
        if (parts := _MARK.fullmatch(mark)) and parts["scope"] == scope_id.encode():  # a damaged one says nothing
            updates.append(int(parts["update"]))
            numbers += [int(parts["number"])] if parts["number"] else []
    return max(numbers, default=None), max(updates)


def scope_of(mark: bytes) -> str:
    """The scope of a high-water mark."""
    return mark.decode(errors="replace").rsplit(":", 2)[0]


def _number(value: int | None) -> bytes | None:
    # Two digits of length in front: the Certificate System compares numbers as text.
    return None if value is None else f"{len(str(value)):02}{value}".encode()


def _time(value: int | None) -> bytes | None:
    return None if value is None else datetime.fromtimestamp(value, UTC).strftime("%Y%m%d%H%M%SZ").encode()
