"""Facts copied from one store into another: an instance that gets a directory server takes along what it knows."""

from __future__ import annotations

from dataclasses import replace

from vouchd.core.facts import Facts
from vouchd.core.ports import Store
from vouchd.errors import StoreConflict


def copy_facts(facts: Facts, source: Store, target: Store) -> int:
    """Put what `target` does not have there, documents of `source` too; how many facts those were.

    May be repeated after it was cut short. Members are left out: an instance registers itself anew. Epochs, and changes
    of the keyring and of approvals, are numbered from 1, which nobody is told; marks follow from the epochs. Raises:
    StoreError; StoreConflict when `target` has other facts of the same thing.
    """
    count = _copy_authorities(facts, source, target) + _copy_users(facts, target)
    quarantined = set(target.quarantined())
    for crl in facts.quarantined:
        if crl not in quarantined:
            target.put_quarantined(crl, source.document(crl.record.sha256))
            count += 1
    # Who has said which keys they have are members, who are left out.
    keyring, stored_keyring = replace(facts.keyring, unasked=()), target.keyring()
    if keyring != replace(stored_keyring, change=keyring.change):
        target.put_keyring(keyring, stored_keyring)
        count += 1
    approvals, stored_approvals = facts.approvals, target.approvals()
    if approvals != replace(stored_approvals, change=approvals.change):
        target.put_approvals(approvals, stored_approvals)
        count += 1
    return count


def _copy_authorities(facts: Facts, source: Store, target: Store) -> int:
    """CAs with their CRLs."""
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
        elif known_epoch.essence != epoch.essence:
            raise StoreConflict(
                "the directory has another CRL of this CA already", hint="it is in use by another instance: clone that"
            )
    return count


def _copy_users(facts: Facts, target: Store) -> int:
    users = {user.id: user for user in target.users()}
    new = [user for user in facts.users if users.get(user.id) != user]
    for user in new:
        target.put_user(user, users.get(user.id))
    return len(new)
