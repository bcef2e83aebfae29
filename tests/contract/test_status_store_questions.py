"""The contract of StatusStore, continued: one CA, one issuing point, CAs by issuer, and what changed since a revision."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests import pki
from tests.contract.backends import (
    CA,
    FIRST,
    POINT,
    SECOND,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    sha256,
)
from tests.contract.test_identity_store import ADMIN

from vouchd.core import records
from vouchd.core.changes import NEVER, Changes, PointFacts
from vouchd.core.facts import Authority, AuthorityPolicy, IssuingPointId
from vouchd.core.ports import StatusStore
from vouchd.directory.connection import Connection, Entry
from vouchd.pkix import certs
from vouchd.stores.ldap import known_entries
from vouchd.stores.revision_cache import RevisionCache

ROOT, LOUD, OTHER = (pki.CA.create(common_name) for common_name in ("Root", "ROOT ", "Other"))


def of(issuer: pki.CA, label: str, **changes: object) -> Authority:
    """The CA of a certificate."""
    return an_authority(label, id=certs.authority_id(issuer.certificate), certificate_der=issuer.der, **changes)


def name_of(issuer: pki.CA) -> bytes:
    return certs.subject_der(issuer.certificate)


def test_authority_one_by_its_id(full_store):
    """One CA is told by its id, and None where there is none."""
    full_store.put_authority(an_authority("b"))
    assert full_store.authority(CA.id) == CA
    assert full_store.authority("nobody") is None
    full_store.remove_authority(CA.id)
    assert full_store.authority(CA.id) is None


def test_authorities_of_any_spelling_of_the_name(store):
    """A CA is found by the name of its certificates as RFC 5280 7.1 compares names, and by no other."""
    root = of(ROOT, "root")
    store.put_authority(root)
    store.put_authority(of(OTHER, "other"))
    assert store.authorities_of(name_of(ROOT)) == store.authorities_of(name_of(LOUD)) == (root,)
    assert store.authorities_of(b"\x30\x00") == ()


def test_authorities_of_names_the_crl_issuers_of_policies_too(store):
    """Whoever has named a CRL issuer is found by its name, in the order of all, until it names it no more."""
    root, other = of(ROOT, "z"), of(OTHER, "a", policy=AuthorityPolicy(crl_issuers=(ROOT.der,)))
    store.put_authority(root)
    store.put_authority(other)
    assert store.authorities_of(name_of(ROOT)) == (other, root)
    store.put_authority(replace(other, policy=AuthorityPolicy()))
    store.remove_authority(root.id)
    assert store.authorities_of(name_of(ROOT)) == ()


def test_authorities_of_a_name_that_history_brings(store):
    """A certificate that comes into the history of a CA brings its name."""
    root = of(ROOT, "root")
    store.put_authority(root)
    store.put_authority(replace(root, history=(OTHER.der,)))
    assert [one.id for one in store.authorities_of(name_of(OTHER))] == [root.id]


def test_epoch_one_point_and_those_of_one_authority(full_store):
    """The epoch of one point is told alone, those of one CA in their order, and none where there is none."""
    other = an_authority("b")
    full_store.put_authority(other)
    partition = an_epoch(CA, scope_id="00")
    for epoch in (partition, an_epoch(other)):
        full_store.commit_epoch(epoch, {})
    assert full_store.epoch(POINT) == an_epoch(CA)
    assert full_store.epochs_of(CA.id) == (partition, an_epoch(CA))
    assert (full_store.epoch(IssuingPointId(CA.id, "ff")), full_store.epochs_of("nobody")) == (None, ())


def test_quarantined_of_one_authority(full_store):
    """The CRLs held back for one CA are told alone."""
    other = an_authority("b")
    full_store.put_authority(other)
    for authority in (CA, other):
        full_store.put_quarantined(a_quarantined(authority, SECOND), SECOND)
    assert full_store.quarantined_of(CA.id) == (a_quarantined(CA, SECOND),)
    assert full_store.quarantined_of("nobody") == ()


def test_changes_since_never_are_everything(full_store):
    """Whoever knows nothing is told all there is, as the whole."""
    assert full_store.changes(NEVER) == Changes(
        full_store.revision(), {CA.id: CA}, {POINT: PointFacts(an_epoch(CA))}, whole=True
    )


def test_changes_since_now_are_none(full_store):
    """Where nothing changed nothing is told."""
    now = full_store.changes(NEVER).revision
    assert full_store.changes(now) == Changes(now)


@pytest.mark.parametrize(
    ("change", "authorities", "points"),
    [
        (lambda store: store.put_authority(an_authority("b")), {an_authority("b").id: an_authority("b")}, {}),
        (lambda store: store.put_authority(replace(CA, label="new")), {CA.id: replace(CA, label="new")}, {}),
        (
            lambda store: store.commit_epoch(an_epoch(CA, 2), {}),
            {},
            {POINT: PointFacts(an_epoch(CA, 2))},
        ),
        (
            lambda store: store.put_quarantined(a_quarantined(CA, SECOND), SECOND),
            {},
            {POINT: PointFacts(an_epoch(CA), a_quarantined(CA, SECOND))},
        ),
        (
            lambda store: store.retire(replace(CA, label="r"), "complete"),
            {CA.id: replace(CA, label="r")},
            {POINT: None},
        ),
        (lambda store: store.remove_authority(CA.id), {CA.id: None}, {POINT: None}),
    ],
    ids=["add", "replace", "commit", "quarantine", "retire", "remove"],
)
def test_changes_of_another_handle_are_what_it_changed(backend, full_store, change, authorities, points):
    """What another process changed is told, and nothing else."""
    theirs = backend.open()
    theirs.put_authority(an_authority("c"))
    theirs.commit_epoch(an_epoch(an_authority("c")), {})
    since = full_store.changes(NEVER).revision
    change(theirs)
    changes = full_store.changes(since)
    assert (changes.revision, changes.whole) == (theirs.revision(), False)
    assert changes.authorities == authorities
    assert changes.points == {point: facts or PointFacts() for point, facts in points.items()}
    assert full_store.changes(changes.revision) == Changes(changes.revision)


def test_changes_of_users_raise_the_revision_alone(full_store):
    """A change of users is none of CAs."""
    since = full_store.changes(NEVER).revision
    full_store.put_user(ADMIN, None)
    changes = full_store.changes(since)
    assert changes.revision > since
    assert (changes.authorities, changes.points, changes.whole) == ({}, {}, False)


def steps(store: StatusStore, chance: random.Random) -> list[Callable[[], object]]:
    """Changes of every kind that may be made now."""
    authority = an_authority(chance.choice("abcd"))
    point = IssuingPointId(authority.id, chance.choice(("complete", "00")))
    document = chance.randbytes(4)
    current = store.epoch(point)
    sequence = current.sequence + 1 if current else 1
    possible = [lambda: store.put_authority(replace(authority, label=chance.choice("xyz")))]
    if store.authority(authority.id):
        epoch = an_epoch(authority, sequence, a_record(document, sequence, 1000 + sequence), point.scope_id)
        held_back = replace(a_quarantined(authority, document, chance.randrange(3000)), issuing_point=point)
        possible += [lambda: store.commit_epoch(epoch, {sha256(document): document})] * 3
        possible.append(lambda: store.put_quarantined(held_back, document))
        possible.append(lambda: store.remove_authority(authority.id))
    if current:
        possible.append(lambda: store.retire(authority, point.scope_id))
    return possible


@pytest.mark.parametrize("seed", range(3))
def test_revision_cache_never_shows_what_was(backend, seed):
    """Whatever other handles change, facts in memory are those that a handle reads that has just been opened."""
    ours, theirs = backend.open(), backend.open()
    cache, chance = RevisionCache(ours.changes), random.Random(seed)
    for _ in range(25):
        writer = chance.choice((ours, theirs))
        for _ in range(chance.randrange(1, 4)):
            chance.choice(steps(writer, chance))()
        fresh = backend.open()
        facts = fresh.authorities(), fresh.epochs(), fresh.quarantined()
        assert (ours.authorities(), ours.epochs(), ours.quarantined()) == facts
        known = cache.current()
        assert (known.authorities, known.epochs, known.quarantined) == facts
        points = [epoch.issuing_point for epoch in facts[1]]
        assert tuple(map(ours.epoch, points)) == facts[1]
        assert [ours.epochs_of(one.id) for one in facts[0]] == [fresh.epochs_of(one.id) for one in facts[0]]


@pytest.fixture
def facts_read(monkeypatch) -> list[object]:
    """What is read of stores in this process: each fact of a CA, epoch or CRL held back, and each entry."""
    seen: list[object] = []

    def noting(read: Callable[[object], object]) -> Callable[[object], object]:
        return lambda record: seen.append(record) or read(record)

    def search(*args: object, **more: object) -> tuple[Entry, ...]:
        entries = searched(*args, **more)
        seen.extend(entry for entry in entries if entry.dn)  # a new connection looks at the server's own
        return entries

    for reader in ("read_authority", "read_epoch", "read_quarantined"):
        monkeypatch.setattr(records, reader, noting(getattr(records, reader)))
    searched = Connection.search
    monkeypatch.setattr(Connection, "search", search)
    monkeypatch.setattr(known_entries, "COMPARED_SECONDS", math.inf)
    return seen


def test_commit_epoch_among_many_reads_no_more_than_among_few(store, facts_read):
    """What one more CRL reads does not depend on how many other CAs there are."""

    def cost(count: int) -> int:
        for number in range(count):
            store.put_authority(an_authority(f"n{number}"))
        sequences = [store.epoch(POINT).sequence + offset for offset in (1, 2)]
        store.commit_epoch(an_epoch(CA, sequences[0]), {})
        store.epochs()
        facts_read.clear()
        store.commit_epoch(an_epoch(CA, sequences[1]), {})
        store.epoch(POINT)
        store.authority(CA.id)
        store.authorities_of(b"\x30\x00")
        store.epochs()
        store.authorities()
        return len(facts_read)

    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    few = cost(3)
    assert cost(40) == few


def test_all_facts_are_read_once_by_one_handle(store, facts_read):
    """Whoever wants everything after another one has had it costs no second reading, and gets what is there now."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.authorities()
    facts_read.clear()
    changes = store.changes(NEVER)
    assert (changes.whole, dict(changes.authorities), changes.points[POINT].epoch) == (True, {CA.id: CA}, an_epoch(CA))
    assert not facts_read
    store.remove_authority(CA.id)
    assert all(one is None for one in store.changes(NEVER).authorities.values())
