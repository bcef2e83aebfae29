"""Self tests of what the instance stands on: disk, clock, and the index files that answers are made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from vouchd.core import issued
from vouchd.core.facts import Authority, Epoch
from vouchd.core.key_history import name_of
from vouchd.core.ports import RevocationIndex, StatusStore
from vouchd.errors import CRLRejected, IndexFileError, LifecycleError, StoreError, StoreUnavailable
from vouchd.index.format import RevocationIndexFile, intact
from vouchd.index.layers import open_index
from vouchd.index.precedence import precedence
from vouchd.instance.selftests.keys import collect
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.packed import minimal
from vouchd.pkix.reasons import Reason, RevocationEntry
from vouchd.service.indexing import Indexing
from vouchd.settings.layout import Layout

_MIB = 1 << 20
_COMPARED = 50_000  # entries of a CRL that are looked up; the checksum speaks for the rest


def check_disk(layout: Layout, min_free_bytes: int) -> str:
    """Each folder that is written to can be, and has room. Raises: StoreUnavailable, naming each that has not."""
    folders = (layout.database_folder, layout.index, layout.run, layout.logs)
    return collect(
        {folder.name: partial(_check_room, folder, min_free_bytes) for folder in folders},
        StoreUnavailable,
    )


def _check_room(folder: Path, min_free_bytes: int) -> str:
    try:
        room = os.statvfs(folder)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: {error.strerror}") from error
    free = room.f_bavail * room.f_frsize
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnavailable("cannot be written", hint=f"mend the owner and mode of {folder}")
    if free < min_free_bytes:
        raise StoreUnavailable(
            f"{free // _MIB} MiB free where {-(-min_free_bytes // _MIB)} are wanted",
            hint="free space; without it no CRL is taken in and no act recorded",
        )
    if room.f_files and not room.f_favail:
        raise StoreUnavailable("no file can be made: the file system is out of inodes", hint="remove files")
    return f"{free // _MIB} MiB free"


def check_clock(store: StatusStore, tolerance_seconds: int, at: int) -> str:
    """The clock (`at`) is not behind what the store, its CAs and its clones have told with theirs.

    Raises: LifecycleError with the fact that lies in the future.
    """
    labels = {authority.id: authority.label for authority in store.authorities()}
    newest, of = 0, "nothing to compare it with yet"
    for moment, what in _foreign_moments(store, labels):
        if moment > newest:
            newest, of = moment, what
    if newest > at + tolerance_seconds:
        raise LifecycleError(
            f"the clock is {newest - at} s behind: {of}", hint="set the clock of this host, and keep it by NTP"
        )
    return f"not behind the newest that is known: {of}" if newest else of


def _foreign_moments(store: StatusStore, labels: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Moments by other clocks, or by ours before: acceptance is replicated, thisUpdate is the CA's."""
    for epoch in store.epochs():
        label = labels.get(epoch.issuing_point.authority_id, "of a CA")
        yield epoch.accepted_at, f"the moment a CRL of {label} was accepted"
        yield epoch.this_update, f"thisUpdate of the CRL of {label}"
    for crl in store.quarantined():
        yield crl.received_at, "the moment a CRL was held back"


def check_index(store: StatusStore, indexing: Indexing, folder: Path) -> str:
    """Each index file is whole, and says what the CRL in the store says; reads the CRLs, so takes its time.

    Raises: IndexFileError, naming each issuing point that fails.
    """
    authorities = {authority.id: authority for authority in store.authorities()}
    checks = {}
    for epoch in store.epochs():
        owner = authorities.get(epoch.issuing_point.authority_id)
        if owner is not None:
            name = f"{owner.label} {epoch.issuing_point.scope_id[:12]}"
            checks[name] = partial(_check_epoch, epoch, owner, indexing, folder)
    for authority in authorities.values():
        serials = authority.policy.issued_serials
        if serials:
            checks[f"{authority.label} issued serials"] = partial(_whole, folder / issued.index_name(serials))
    return collect(checks, IndexFileError)


def _whole(path: Path) -> str:
    if intact(path) is None:
        raise IndexFileError(
            f"{path.name} is missing or damaged", hint="it is rebuilt by a restart: vouchd restart; look at the disk"
        )
    return "whole"


def _opened(kind: type[RevocationIndexFile], path: Path) -> RevocationIndexFile:
    _whole(path)
    return kind(path)


def _check_epoch(epoch: Epoch, owner: Authority, indexing: Indexing, folder: Path) -> str:
    index = open_index(folder, epoch.index_names, lambda kind, name: _opened(kind, folder / name))
    overlay = _counting(_entries(indexing, epoch, owner, of_delta=True))
    first = _counting(islice(_entries(indexing, epoch, owner, of_delta=False), _COMPARED))
    compared = (
        first | dict(islice(overlay.items(), _COMPARED)) | {one: overlay[one] for one in first.keys() & overlay.keys()}
    )
    apart = {serial for serial, entry in compared.items() if not _says(index, serial, entry)}
    if apart:  # the entry that counts may stand further down
        whole = (entry for entry in _entries(indexing, epoch, owner, of_delta=False) if minimal(entry.serial) in apart)
        for serial, entry in (_counting(whole) | {one: overlay[one] for one in apart & overlay.keys()}).items():
            _require_said(index, serial, entry)
    if epoch.delta is None and len(index) != epoch.base.entry_count:
        raise IndexFileError(f"{len(index)} entries where the store has {epoch.base.entry_count}")
    return f"{len(index)} entries, {len(first)} compared"


def _entries(indexing: Indexing, epoch: Epoch, owner: Authority, *, of_delta: bool) -> Iterator[RevocationEntry]:
    record = epoch.delta if of_delta else epoch.base
    if record is None:
        return
    try:
        crl = indexing.document(record)
    except StoreError as error:
        raise IndexFileError(f"the store lacks the CRL: {error}", hint="restore the store from a backup") from error
    except CRLRejected as error:
        raise IndexFileError("the CRL in the store is damaged", hint="restore the store from a backup") from error
    yield from entries(crl, read_header(crl), name_of(owner))


def _counting(listed: Iterable[RevocationEntry]) -> dict[bytes, RevocationEntry]:
    """By serial the entry that counts: a CRL may list one more than once."""
    counting: dict[bytes, RevocationEntry] = {}
    for entry in listed:
        serial = minimal(entry.serial)
        former = counting.get(serial)
        counting[serial] = entry if former is None else min(former, entry, key=precedence)
    return counting


def _says(index: RevocationIndex, serial: bytes, listed: RevocationEntry) -> bool:
    """Whether the index says of the serial what the CRL does."""
    indexed = index.find(serial)
    if listed.reason is Reason.REMOVE_FROM_CRL:
        return indexed is None
    return indexed is not None and indexed.revocation_time == listed.revocation_time


def _require_said(index: RevocationIndex, serial: bytes, listed: RevocationEntry) -> None:
    if not _says(index, serial, listed):
        raise IndexFileError(
            f"serial {serial.hex()} is not as the CRL has it", hint="vouchd restart rebuilds a damaged index"
        )
