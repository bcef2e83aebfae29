"""The contract of StatusStore, sentence by sentence, over every store: revision, authorities, epochs, high water."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.contract.backends import (
    CA,
    DELTA,
    FIRST,
    POINT,
    SECOND,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    everything,
    sha256,
)

from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy, IssuingPointId
from vouchd.core.ports import StatusStore
from vouchd.errors import NotFound, StoreConflict


def test_revision_rises_with_every_change_by_anyone(backend):
    """The revision rises with each changing method, and another handle sees it."""
    ours, theirs = backend.open(), backend.open()
    seen = [theirs.revision()]
    for change in (
        lambda: ours.put_authority(CA),
        lambda: ours.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST}),
        lambda: ours.put_quarantined(a_quarantined(CA, SECOND), SECOND),
        lambda: ours.drop_quarantined(POINT),
        lambda: ours.retire(CA, POINT.scope_id),
        lambda: ours.remove_authority(CA.id),
    ):
        change()
        seen.append(theirs.revision())
    assert seen == sorted(set(seen))


def test_revision_stays_without_a_change(full_store):
    """Reading and refused changes leave the revision alone."""
    before = full_store.revision()
    full_store.epochs()
    with pytest.raises(StoreConflict):
        full_store.commit_epoch(an_epoch(CA, 7), {})
    assert full_store.revision() == before


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
        reasons=False,
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


def test_put_authority_same_id_replaces_and_keeps_epochs(full_store):
    """Replacing an authority changes its facts and leaves its epochs."""
    changed = replace(CA, label="renamed")
    full_store.put_authority(changed)
    assert full_store.authorities() == (changed,)
    assert full_store.epochs() == (an_epoch(CA),)


def test_put_authority_document_not_given_is_not_found_and_changes_nothing(full_store):
    """A policy may not name a document that nobody has."""
    before = everything(full_store)
    with pytest.raises(NotFound):
        full_store.put_authority(replace(CA, policy=AuthorityPolicy(issued_serials=sha256(b"nowhere"))))
    assert everything(full_store) == before


def test_put_authority_policy_drops_document_gone(store):
    """A document that no policy names any more is dropped with the change that ended its use."""
    serials = b"list"
    store.put_authority(replace(CA, policy=AuthorityPolicy(issued_serials=sha256(serials))), {sha256(serials): serials})
    store.put_authority(CA)
    with pytest.raises(NotFound):
        store.document(sha256(serials))


def test_remove_authority_takes_epochs_and_quarantined_but_not_others(full_store):
    """Removing a CA removes its epochs, quarantined CRLs and documents, and nothing of another CA."""
    other = an_authority("b")
    full_store.put_authority(other)
    full_store.commit_epoch(an_epoch(other), {})
    full_store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    full_store.remove_authority(CA.id)
    assert (full_store.authorities(), full_store.epochs(), full_store.quarantined()) == (
        (other,),
        (an_epoch(other),),
        (),
    )
    assert full_store.document(sha256(FIRST)) == FIRST
    with pytest.raises(NotFound):
        full_store.document(sha256(SECOND))


def test_remove_authority_unknown_not_found(store):
    """Removing what is not there is NotFound."""
    with pytest.raises(NotFound):
        store.remove_authority(CA.id)


def test_commit_epoch_with_delta_comes_back_as_committed(full_store):
    """Every field of an epoch survives the store, big CRL numbers and a base64 value too."""
    epoch = an_epoch(
        CA,
        2,
        a_record(SECOND, 2**159 - 1, 1100),
        delta=a_record(DELTA, 2**159, 1200, base=2**159 - 1),
        idp_der=b"\x30\x03\x85\x01\xff",
        origin="https://ca.test/crl",
    )
    full_store.commit_epoch(epoch, {sha256(SECOND): SECOND, sha256(DELTA): DELTA})
    assert full_store.epochs() == (epoch,)
    assert full_store.high_water(POINT) == (2**159, 1200)


def test_epochs_several_points_ordered_by_issuing_point(full_store):
    """Each scope of each CA is an issuing point of its own, in order."""
    other = an_authority("b")
    full_store.put_authority(other)
    epochs = [an_epoch(CA), an_epoch(CA, scope_id="00"), an_epoch(other, scope_id="ff"), an_epoch(other)]
    for epoch in epochs[1:]:
        full_store.commit_epoch(epoch, {})
    assert full_store.epochs() == tuple(sorted(epochs, key=lambda epoch: epoch.issuing_point))


def test_commit_epoch_next_sequence_replaces_and_drops_old_document(full_store):
    """The new epoch takes the place of the old one, whose CRL goes when nothing names it."""
    epoch = an_epoch(CA, 2, a_record(SECOND, 2, 1100))
    full_store.commit_epoch(epoch, {sha256(SECOND): SECOND})
    assert full_store.epochs() == (epoch,)
    assert full_store.document(sha256(SECOND)) == SECOND
    with pytest.raises(NotFound):
        full_store.document(sha256(FIRST))


def test_commit_epoch_stored_document_need_not_be_given_again(full_store):
    """A delta makes a new epoch on the base that is stored already."""
    full_store.commit_epoch(an_epoch(CA, 2, delta=a_record(DELTA, 2, 1100, base=1)), {sha256(DELTA): DELTA})
    assert (full_store.document(sha256(FIRST)), full_store.document(sha256(DELTA))) == (FIRST, DELTA)


def test_commit_epoch_document_shared_with_another_point_stays(full_store):
    """A document stays for as long as anything names it."""
    full_store.commit_epoch(an_epoch(CA, scope_id="00"), {})
    full_store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert full_store.document(sha256(FIRST)) == FIRST


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_commit_epoch_wrong_sequence_conflict_and_nothing_changed(full_store, sequence):
    """Only the epoch one above the current sequence may follow; a refused one leaves no document either."""
    before = everything(full_store)
    with pytest.raises(StoreConflict):
        full_store.commit_epoch(an_epoch(CA, sequence, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert everything(full_store) == before
    with pytest.raises(NotFound):
        full_store.document(sha256(SECOND))


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


def test_commit_epoch_crl_neither_stored_nor_given_not_found(full_store):
    """An epoch may not name a CRL that nobody has."""
    before = everything(full_store)
    with pytest.raises(NotFound):
        full_store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {})
    assert everything(full_store) == before


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


def test_several_authorities_and_epochs_are_what_each_by_itself_is(backend, store):
    """CAs that are put, and epochs that are committed, together are those that come back; some may be there already."""
    others = [an_authority(name) for name in "bcd"]
    store.put_authority(CA)
    store.put_authorities([replace(CA, label="new"), *others])
    assert set(store.authorities()) == {replace(CA, label="new"), *others}
    epochs = [an_epoch(one, base=a_record(one.id.encode())) for one in (CA, *others)]
    store.commit_epochs(
        [(epoch, {sha256(one.id.encode()): one.id.encode()}) for epoch, one in zip(epochs, (CA, *others), strict=True)]
    )
    assert set(backend.open().epochs()) == set(epochs)
    assert [store.high_water(epoch.issuing_point) for epoch in epochs] == [(1, 1000)] * 4
    assert store.document(sha256(CA.id.encode())) == CA.id.encode()


def test_several_epochs_of_which_one_conflicts_conflict(full_store):
    """One that does not follow is told as by itself."""
    other = an_authority("b")
    full_store.put_authority(other)
    with pytest.raises(StoreConflict):
        full_store.commit_epochs([(an_epoch(other), {}), (an_epoch(CA, 7), {})])
    assert full_store.epoch(POINT) == an_epoch(CA)


def test_high_water_never_committed_is_none_and_zero(full_store):
    """An issuing point without history has no mark."""
    assert full_store.high_water(IssuingPointId(CA.id, "00")) == (None, 0)


def test_high_water_lower_epoch_never_falls(full_store):
    """The mark keeps the highest number and the highest time, whatever comes after."""
    full_store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 50, 5000)), {sha256(SECOND): SECOND})
    full_store.commit_epoch(an_epoch(CA, 3, a_record(FIRST, 7, 700)), {sha256(FIRST): FIRST})
    assert full_store.high_water(POINT) == (50, 5000)


def test_high_water_crl_without_number_keeps_number(full_store):
    """A CRL without a number raises only the time."""
    full_store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, None, 5000)), {sha256(SECOND): SECOND})
    assert full_store.high_water(POINT) == (1, 5000)


def test_high_water_authority_removed_stays_known(full_store):
    """Rollback protection outlives the authority."""
    full_store.remove_authority(CA.id)
    assert full_store.high_water(POINT) == (1, 1000)


def test_retire_drops_the_epoch_and_keeps_the_mark(full_store):
    """An issuing point that is retired is gone with its CRLs; what the CA is from then on is stored in the same step."""
    full_store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    mark = full_store.high_water(POINT)
    retired = replace(CA, retired_scopes=(POINT.scope_id,))
    full_store.retire(retired, POINT.scope_id)
    assert (full_store.authorities(), full_store.epochs(), full_store.quarantined()) == ((retired,), (), ())
    assert full_store.high_water(POINT) == mark != (None, 0)
    for document in (FIRST, SECOND):
        with pytest.raises(NotFound):
            full_store.document(sha256(document))


def test_retire_leaves_the_other_issuing_points(full_store):
    """Another scope of the CA, and the same scope of another CA, stay as they are."""
    other = an_authority("other")
    full_store.put_authority(other)
    partition = an_epoch(CA, base=a_record(SECOND), scope_id="ab" * 32)
    theirs = an_epoch(other, base=a_record(SECOND))
    for epoch in (partition, theirs):
        full_store.commit_epoch(epoch, {sha256(SECOND): SECOND})
    full_store.retire(CA, POINT.scope_id)
    assert set(full_store.epochs()) == {partition, theirs}


def test_retire_what_is_not_there_not_found(full_store):
    """Nothing to retire is told as such, and nothing changes."""
    before = full_store.revision()
    for authority, scope_id in ((CA, "ab" * 32), (an_authority("stranger"), POINT.scope_id)):
        with pytest.raises(NotFound):
            full_store.retire(authority, scope_id)
    assert full_store.revision() == before


def test_commit_epoch_after_retiring_begins_at_one(full_store):
    """A CRL may come again once an operator lets it: the sequence begins anew, the mark does not."""
    full_store.retire(CA, POINT.scope_id)
    full_store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert [epoch.sequence for epoch in full_store.epochs()] == [1]


def test_commit_epoch_renumbered_lowers_the_mark(full_store):
    """An administrator's word begins the order of numbers anew, also for what was kept of a CA that had been removed."""
    first = replace(an_epoch(CA, 2, base=a_record(SECOND, 1007, 5000)))
    full_store.commit_epoch(first, {sha256(SECOND): SECOND})
    full_store.remove_authority(CA.id)
    full_store.put_authority(CA)
    assert full_store.high_water(POINT) == (1007, 5000)
    full_store.commit_epoch(replace(an_epoch(CA, base=a_record(FIRST, 8, 4000)), renumbered=1), {sha256(FIRST): FIRST})
    assert full_store.high_water(POINT) == (8, 4000)
    third = replace(an_epoch(CA, 2, base=a_record(SECOND, 9, 4500)), renumbered=1)
    full_store.commit_epoch(third, {sha256(SECOND): SECOND})
    assert full_store.high_water(POINT) == (9, 4500)
