"""Facts copied from one store into another: an instance that gets a directory server takes along what it knows."""

from __future__ import annotations

from dataclasses import replace

from vouchd.core.facts import Facts
from vouchd.core.ports import Store
from vouchd.errors import StoreConflict


def copy_facts(facts: Facts, source: Store, target: Store) -> int:
    """Put what `target` does not have there, documents of `source` too; how many facts those were.

    May be repeated after it was cut short. Members are left out: an instance registers itself anew. Epochs are numbered
    from 1, which nobody is told. Raises: StoreError; StoreConflict when `target` has other facts of the same thing.
    """
    count = 0
    known = {authority.id: authority for authority in target.authorities()}
    for authority in facts.authorities:
        if known.get(authority.id) != authority:
            serials = authority.policy.issued_serials
            target.put_authority(authority, {serials: source.document(serials)} if serials else {})
            count += 1
    present = {epoch.issuing_point: epoch for epoch in target.epochs()}
    for epoch in facts.epochs:
        known_epoch = present.get(epoch.issuing_point)
        if known_epoch is None:
            crls = (*epoch.records, *epoch.former)
            documents = {crl.sha256: source.document(crl.sha256) for crl in crls}
            target.commit_epoch(replace(epoch, sequence=1), documents)
            count += 1
        elif known_epoch.index_name != epoch.index_name:
            raise StoreConflict(
                "the directory has another CRL of this CA already", hint="it is in use by another instance: clone that"
            )
    users = {user.id: user for user in target.users()}
    for user in facts.users:
        if users.get(user.id) != user:
            target.put_user(user, users.get(user.id))
            count += 1
    return count
