"""Tidying up after concurrent changes on several suppliers: what every reader resolves alike is written down.

Any member may do it, at any time, and several at once: each step is one modify that fails when another was quicker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vouchd.core.facts import Authority
from vouchd.directory.connection import Change, Connection, Entry, escaped
from vouchd.directory.schema import EPOCH, HIGH_WATER, QUARANTINED, REMOVAL
from vouchd.errors import AlreadyExists, NotFound, StoreConflict
from vouchd.stores.ldap.documents import ChunkedDocuments
from vouchd.stores.ldap.entries import (
    BASE_CRL,
    DELTA_CRL,
    OF_AUTHORITIES,
    OF_CONFLICTS,
    OF_REMOVED,
    SMALL,
    Held,
    entry_values,
    mark_values,
    mirrored,
    names_of,
)
from vouchd.stores.ldap.removals import keep, readable

_log = logging.getLogger(__name__)

_UNITED = (EPOCH, QUARANTINED, HIGH_WATER)


def settle(
    connection: Connection,
    suffix: str,
    everyone: Callable[[], Sequence[Held]],
    documents: ChunkedDocuments,
    now: float,
) -> int:
    """Merge replication conflicts, drop superseded epochs, collect old chunks; how much was done.

    `everyone` tells the CAs as they are now.
    """
    done = merge_conflicts(connection, suffix)
    done += _finish_removals(connection, suffix, {one.dn.lower() for one in everyone() if one.gone})
    for ca_entry in everyone():
        with suppress(StoreConflict, NotFound):
            done += _drop_superseded(connection, ca_entry)
    entries = everyone()
    if any(ca_entry.record is None or ca_entry.damaged for ca_entry in entries):
        return done  # what a damaged value named may be needed yet
    named = frozenset(name for ca_entry in entries for name in ca_entry.named())
    return done + documents.collect(connection, named, now)


def merge_conflicts(connection: Connection, suffix: str) -> int:
    """Unite the entries of CAs that were added on two suppliers at one time; how many those were."""
    done = 0
    for entry in connection.search(suffix, scope="one", query=OF_CONFLICTS, attributes=[*SMALL, BASE_CRL, DELTA_CRL]):
        with suppress(StoreConflict, AlreadyExists, NotFound):  # another member is at it
            _merge(connection, suffix, entry)
            _log.info("merged the replication conflict %s", entry.dn)
            done += 1
    return done


def _finish_removals(connection: Connection, suffix: str, lost: Collection[str]) -> int:
    """Delete the entries of CAs whose removal was cut short, but for those that are believed; how many those were."""
    every = connection.search(suffix, scope="one", query=OF_REMOVED, attributes=["cn", REMOVAL])
    removed = [entry for entry in every if entry.dn.lower() not in lost]
    for entry in removed:
        with suppress(NotFound, StoreConflict):  # whoever removes it was quicker
            keep(connection, suffix, readable(entry.all(REMOVAL)))
            connection.delete(entry.dn)
    return len(removed)


def _merge(connection: Connection, suffix: str, conflict: Entry) -> None:
    """Give the values of an entry that lost its name to another of the same CA, or a name of its own."""
    lost = Held.stored(conflict)
    if lost.record is None:
        raise StoreConflict(f"{conflict.dn}: the record of the CA is damaged")
    for entry in connection.search(suffix, scope="one", query=OF_AUTHORITIES, attributes=[*SMALL, BASE_CRL, DELTA_CRL]):
        other = Held.stored(entry)
        if other.authority.id != lost.authority.id:
            continue
        changes = list(other.restamped())
        for attribute in (*_UNITED, BASE_CRL, DELTA_CRL):
            name = attribute.split(";", 1)[0]
            lacking = tuple(value for value in conflict.all(name) if value not in entry.all(name))
            changes += [Change("add", attribute, lacking)] if lacking else []
        connection.modify(entry.dn, changes)
        break
    else:
        _rename(connection, suffix, conflict, lost.authority, lost.record)
    connection.delete(conflict.dn)


def _rename(
    connection: Connection, suffix: str, conflict: Entry, authority: Authority, record: Mapping[str, Any]
) -> None:
    """Another CA of the same name has the entry's name: this one gets the name that it would have got after it."""
    _, name = names_of(authority)
    values = {each: conflict.all(each.split(";", 1)[0]) for each in (*_UNITED, BASE_CRL, DELTA_CRL)}
    connection.add(f"cn={escaped(name)},{suffix}", {**entry_values(name, authority, record), **values})


def _drop_superseded(connection: Connection, ca_entry: Held) -> int:
    """Remove the epochs that are not the newest of their issuing point, with their CRLs; how many those were."""
    current = {epoch.issuing_point: epoch for epoch in ca_entry.current()}
    superseded = [value for value, epoch in ca_entry.epochs if current[epoch.issuing_point] != epoch]
    if not superseded and len(ca_entry.stamps) <= 1:
        return 0
    changes = [*ca_entry.restamped()]
    changes += [Change("delete", EPOCH, tuple(superseded))] if superseded else []
    for point, epoch in current.items():
        changes += mark_values(point.scope_id, ca_entry.marks, ca_entry.high_water(point))
        for attribute, old, _ in ca_entry.crls_changed(epoch):
            gone = tuple(filter(None, (ca_entry.crl(connection, sha256) for sha256 in old)))
            changes += [Change("delete", attribute, gone)] if gone else []
        changes += mirrored(epoch)
    connection.modify(ca_entry.dn, changes)
    return len(superseded) or 1
