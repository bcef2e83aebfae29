"""The contract of StatusStore, sentence by sentence, over every store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.backends import (
    BACKENDS,
    DELTA,
    FIRST,
    SECOND,
    Backend,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    sha256,
)

from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy, IssuingPointId
from vouchd.core.ports import StatusStore
from vouchd.errors import NotFound, StoreConflict

CA = an_authority("a")
POINT = IssuingPointId(CA.id)
MIB = 1 << 20


@pytest.fixture(params=sorted(BACKENDS))
def backend(request, tmp_path) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path)
    yield backend
    backend.close()


@pytest.fixture
def store(backend) -> StatusStore:
    return backend.open()


@pytest.fixture
def held(store) -> StatusStore:
    """A store with one authority and its first epoch."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    return store


def everything(store: StatusStore) -> tuple:
    return store.revision(), store.authorities(), store.epochs(), store.quarantined(), store.high_water(POINT)


# revision


def test_revision_rises_with_every_change_by_anyone(backend):
    """The revision rises with each changing method, and another handle sees it."""
    ours, theirs = backend.open(), backend.open()
    seen = [theirs.revision()]
    for change in (
        lambda: ours.put_authority(CA),
        lambda: ours.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST}),
        lambda: ours.put_quarantined(a_quarantined(CA, SECOND), SECOND),
        lambda: ours.drop_quarantined(POINT),
        lambda: ours.remove_authority(CA.id),
    ):
        change()
        seen.append(theirs.revision())
    assert seen == sorted(set(seen))


def test_revision_stays_without_a_change(held):
    """Reading and refused changes leave the revision alone."""
    before = held.revision()
    held.epochs()
    with pytest.raises(StoreConflict):
        held.commit_epoch(an_epoch(CA, 7), {})
    assert held.revision() == before


# authorities


def test_authorities_empty_store_none(store):
    """A new store has no facts, and says so without an error."""
    assert everything(store)[1:] == ((), (), (), (None, 0))


def test_authorities_several_ordered_by_label_then_id(store):
    """Authorities come ordered by label, those of one label by id."""
    first, second, third = (an_authority(name, label=label) for name, label in (("x", "B"), ("y", "A"), ("z", "B")))
    for authority in (first, second, third):
        store.put_authority(authority)
    assert store.authorities() == (second, *sorted((first, third), key=lambda ca: ca.id))


def test_put_authority_all_policy_fields_come_back(store):
    """Every field of a policy survives the store as it was."""
    serials = b"list"
    policy = AuthorityPolicy(
        not_found_as_good=False,
        include_next_update=True,
        expired_crl=ExpiredCRLPolicy.SERVE,
        invalidity_date=True,
        crl_reference=True,
        archive_cutoff_seconds=86400,
        extended_revoke=True,
        signer="ocsp",
        crl_issuers=(b"\x30\x00", b"\xff\x00"),
        expected_scopes=("complete", "ab"),
        quarantine_percent=12.5,
        issued_serials=sha256(serials),
    )
    store.put_authority(replace(CA, policy=policy), {sha256(serials): serials})
    assert store.authorities() == (replace(CA, policy=policy),)
    assert store.document(sha256(serials)) == serials


def test_put_authority_same_id_replaces_and_keeps_epochs(held):
    """Replacing an authority changes its facts and leaves its epochs."""
    changed = replace(CA, label="renamed")
    held.put_authority(changed)
    assert held.authorities() == (changed,)
    assert held.epochs() == (an_epoch(CA),)


def test_put_authority_document_not_given_is_not_found_and_changes_nothing(held):
    """A policy may not name a document that nobody has."""
    before = everything(held)
    with pytest.raises(NotFound):
        held.put_authority(replace(CA, policy=AuthorityPolicy(issued_serials=sha256(b"nowhere"))))
    assert everything(held) == before


def test_put_authority_policy_drops_document_gone(store):
    """A document that no policy names any more is dropped with the change that ended its use."""
    serials = b"list"
    store.put_authority(replace(CA, policy=AuthorityPolicy(issued_serials=sha256(serials))), {sha256(serials): serials})
    store.put_authority(CA)
    with pytest.raises(NotFound):
        store.document(sha256(serials))


def test_remove_authority_takes_epochs_and_quarantined_but_not_others(held):
    """Removing a CA removes its epochs, quarantined CRLs and documents, and nothing of another CA."""
    other = an_authority("b")
    held.put_authority(other)
    held.commit_epoch(an_epoch(other), {})
    held.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    held.remove_authority(CA.id)
    assert (held.authorities(), held.epochs(), held.quarantined()) == ((other,), (an_epoch(other),), ())
    assert held.document(sha256(FIRST)) == FIRST
    with pytest.raises(NotFound):
        held.document(sha256(SECOND))


def test_remove_authority_unknown_not_found(store):
    """Removing what is not there is NotFound."""
    with pytest.raises(NotFound):
        store.remove_authority(CA.id)


# epochs


def test_commit_epoch_with_delta_comes_back_as_committed(held):
    """Every field of an epoch survives the store, big CRL numbers and a base64 value too."""
    epoch = an_epoch(
        CA,
        2,
        a_record(SECOND, 2**159 - 1, 1100),
        delta=a_record(DELTA, 2**159, 1200, base=2**159 - 1),
        idp_der=b"\x30\x03\x85\x01\xff",
        origin="https://ca.test/crl",
    )
    held.commit_epoch(epoch, {sha256(SECOND): SECOND, sha256(DELTA): DELTA})
    assert held.epochs() == (epoch,)
    assert held.high_water(POINT) == (2**159, 1200)


def test_epochs_several_points_ordered_by_issuing_point(held):
    """Each scope of each CA is an issuing point of its own, in order."""
    other = an_authority("b")
    held.put_authority(other)
    epochs = [an_epoch(CA), an_epoch(CA, scope_id="00"), an_epoch(other, scope_id="ff"), an_epoch(other)]
    for epoch in epochs[1:]:
        held.commit_epoch(epoch, {})
    assert held.epochs() == tuple(sorted(epochs, key=lambda epoch: epoch.issuing_point))


def test_commit_epoch_next_sequence_replaces_and_drops_old_document(held):
    """The new epoch takes the place of the old one, whose CRL goes when nothing names it."""
    epoch = an_epoch(CA, 2, a_record(SECOND, 2, 1100))
    held.commit_epoch(epoch, {sha256(SECOND): SECOND})
    assert held.epochs() == (epoch,)
    assert held.document(sha256(SECOND)) == SECOND
    with pytest.raises(NotFound):
        held.document(sha256(FIRST))


def test_commit_epoch_stored_document_need_not_be_given_again(held):
    """A delta makes a new epoch on the base that is stored already."""
    held.commit_epoch(an_epoch(CA, 2, delta=a_record(DELTA, 2, 1100, base=1)), {sha256(DELTA): DELTA})
    assert (held.document(sha256(FIRST)), held.document(sha256(DELTA))) == (FIRST, DELTA)


def test_commit_epoch_document_shared_with_another_point_stays(held):
    """A document stays for as long as anything names it."""
    held.commit_epoch(an_epoch(CA, scope_id="00"), {})
    held.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert held.document(sha256(FIRST)) == FIRST


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_commit_epoch_wrong_sequence_conflict_and_nothing_changed(held, sequence):
    """Only the epoch one above the current sequence may follow; a refused one leaves no document either."""
    before = everything(held)
    with pytest.raises(StoreConflict):
        held.commit_epoch(an_epoch(CA, sequence, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert everything(held) == before
    with pytest.raises(NotFound):
        held.document(sha256(SECOND))


def test_commit_epoch_first_sequence_must_be_one(store):
    """Where there is no epoch the first one is 1."""
    store.put_authority(CA)
    with pytest.raises(StoreConflict):
        store.commit_epoch(an_epoch(CA, 2), {sha256(FIRST): FIRST})


def test_commit_epoch_authority_unknown_not_found_and_no_document(store):
    """An epoch of a CA that is not registered is refused as a whole."""
    with pytest.raises(NotFound):
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    with pytest.raises(NotFound):
        store.document(sha256(FIRST))


def test_commit_epoch_crl_neither_stored_nor_given_not_found(held):
    """An epoch may not name a CRL that nobody has."""
    before = everything(held)
    with pytest.raises(NotFound):
        held.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {})
    assert everything(held) == before


def test_commit_epoch_two_handles_race_one_wins(backend):
    """Of two writers with the same next epoch exactly one succeeds, the other conflicts."""
    ours, theirs = backend.open(), backend.open()
    ours.put_authority(CA)
    start = threading.Barrier(2)
    results: list[str] = []

    def commit(store: StatusStore, document: bytes) -> None:
        start.wait()
        try:
            store.commit_epoch(an_epoch(CA, base=a_record(document)), {sha256(document): document})
            results.append("committed")
        except StoreConflict:
            results.append("conflict")

    threads = [threading.Thread(target=commit, args=pair) for pair in ((ours, FIRST), (theirs, SECOND))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["committed", "conflict"]
    assert ours.epochs() == theirs.epochs()
    assert len(ours.epochs()) == 1


# high water


def test_high_water_never_committed_is_none_and_zero(held):
    """An issuing point without history has no mark."""
    assert held.high_water(IssuingPointId(CA.id, "00")) == (None, 0)


def test_high_water_lower_epoch_never_falls(held):
    """The mark keeps the highest number and the highest time, whatever comes after."""
    held.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 50, 5000)), {sha256(SECOND): SECOND})
    held.commit_epoch(an_epoch(CA, 3, a_record(FIRST, 7, 700)), {sha256(FIRST): FIRST})
    assert held.high_water(POINT) == (50, 5000)


def test_high_water_crl_without_number_keeps_number(held):
    """A CRL without a number raises only the time."""
    held.commit_epoch(an_epoch(CA, 2, a_record(SECOND, None, 5000)), {sha256(SECOND): SECOND})
    assert held.high_water(POINT) == (1, 5000)


def test_high_water_authority_removed_stays_known(held):
    """Rollback protection outlives the authority."""
    held.remove_authority(CA.id)
    assert held.high_water(POINT) == (1, 1000)


# documents


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
def test_document_chunks_any_size_at_most_one_mebibyte_in_order(store, size):
    """The pieces are at most 1 MiB each and together the document."""
    document = bytes(range(256)) * (size // 256) + bytes(size % 256)
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, base=a_record(document)), {sha256(document): document})
    pieces = list(store.document_chunks(sha256(document)))
    assert all(0 < len(piece) <= MIB for piece in pieces)
    assert b"".join(pieces) == document == store.document(sha256(document))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_document_any_buffer_taken(store, kind):
    """Documents are given as any buffer, a view of a mapped file among them."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): kind(FIRST)})
    assert store.document(sha256(FIRST)) == FIRST


def test_document_unknown_not_found(store):
    """Both ways to read say NotFound at once, not at the first piece."""
    with pytest.raises(NotFound):
        store.document(sha256(FIRST))
    with pytest.raises(NotFound):
        store.document_chunks(sha256(FIRST))


def test_document_chunks_epoch_replaced_while_reading_are_whole(backend):
    """A reader in the middle of a document gets it whole although a writer drops it meanwhile."""
    ours, theirs = backend.open(), backend.open()
    document = bytes(2 * MIB)
    ours.put_authority(CA)
    ours.commit_epoch(an_epoch(CA, base=a_record(document)), {sha256(document): document})
    pieces = theirs.document_chunks(sha256(document))
    first = next(pieces)
    ours.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert first + b"".join(pieces) == document


# quarantine


def test_quarantined_several_oldest_first(store):
    """CRLs held back come in the order they were received."""
    other = an_authority("b")
    store.put_authority(CA)
    store.put_authority(other)
    late, early = a_quarantined(CA, SECOND, 3000), a_quarantined(other, FIRST, 2000)
    store.put_quarantined(late, SECOND)
    store.put_quarantined(early, FIRST)
    assert store.quarantined() == (early, late)
    assert store.document(sha256(SECOND)) == SECOND


def test_put_quarantined_same_point_replaces_older(held):
    """One CRL is held back per issuing point; the older one's document goes."""
    held.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    newer = a_quarantined(CA, DELTA, 3000)
    held.put_quarantined(newer, DELTA)
    assert held.quarantined() == (newer,)
    with pytest.raises(NotFound):
        held.document(sha256(SECOND))


def test_put_quarantined_authority_unknown_not_found(store):
    """Nothing is held back for a CA that is not registered."""
    with pytest.raises(NotFound):
        store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    assert store.quarantined() == ()


def test_commit_epoch_with_quarantined_crl_leaves_quarantine(held):
    """Committing the CRL that was held back ends its quarantine in the same step, without giving it again."""
    held.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    held.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 9, 1900)), {})
    assert held.quarantined() == ()
    assert held.document(sha256(SECOND)) == SECOND


def test_commit_epoch_of_another_crl_keeps_quarantine(held):
    """A CRL that the epoch does not contain stays held back, with its document."""
    crl = a_quarantined(CA, SECOND)
    held.put_quarantined(crl, SECOND)
    held.commit_epoch(an_epoch(CA, 2, a_record(DELTA, 2, 1100)), {sha256(DELTA): DELTA})
    assert held.quarantined() == (crl,)
    assert held.document(sha256(SECOND)) == SECOND


def test_drop_quarantined_forgets_crl_and_document(held):
    """Dropping ends the quarantine and takes the document."""
    held.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    held.drop_quarantined(POINT)
    assert held.quarantined() == ()
    with pytest.raises(NotFound):
        held.document(sha256(SECOND))


def test_drop_quarantined_nothing_held_back_not_found(held):
    """There is nothing to drop: NotFound."""
    with pytest.raises(NotFound):
        held.drop_quarantined(POINT)


# several handles


def test_another_handle_sees_what_is_committed(backend):
    """What one process commits every other reads at once."""
    ours, theirs = backend.open(), backend.open()
    ours.put_authority(CA)
    ours.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert theirs.epochs() == (an_epoch(CA),)
    assert theirs.document(sha256(FIRST)) == FIRST


def test_reopened_store_holds_everything(backend):
    """A durable store holds every fact after it was closed; one in memory is the same object."""
    store = backend.open()
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    before = everything(store)
    store.close()
    assert everything(backend.open()) == before


def test_threads_share_one_handle(held):
    """One handle serves several threads."""
    points = [f"{number:02x}" for number in range(8)]

    def commit(scope_id: str) -> None:
        held.commit_epoch(an_epoch(CA, scope_id=scope_id), {})
        held.revision()

    threads = [threading.Thread(target=commit, args=(point,)) for point in points]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [epoch.issuing_point.scope_id for epoch in held.epochs()] == [*points, "complete"]
