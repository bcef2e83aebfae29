"""The contract of StatusStore, continued: documents, quarantine, several handles on one store."""

from __future__ import annotations

import threading

import pytest
from tests.contract.backends import (
    CA,
    DELTA,
    FIRST,
    MIB,
    POINT,
    SECOND,
    a_quarantined,
    a_record,
    an_authority,
    an_epoch,
    everything,
    sha256,
)

from vouchd.errors import NotFound


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


def a_later_epoch(**facts):
    """The second epoch, which names the first CRL as one that is kept."""
    return an_epoch(CA, 2, a_record(SECOND, 2, 1100), former=(a_record(FIRST),), **facts)


def test_former_crl_is_kept_for_as_long_as_an_epoch_names_it(backend):
    """What is named comes back, and its document with it; the next epoch that does not name it lets it go."""
    ours, theirs = backend.open(), backend.open()
    ours.put_authority(CA)
    ours.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    ours.commit_epoch(a_later_epoch(), {sha256(SECOND): SECOND})
    assert theirs.epoch(POINT).former == (a_record(FIRST),)
    assert [theirs.document(sha256(one)) for one in (FIRST, SECOND)] == [FIRST, SECOND]
    ours.commit_epoch(an_epoch(CA, 3, a_record(DELTA, 3, 1200)), {sha256(DELTA): DELTA})
    for gone in (FIRST, SECOND):
        with pytest.raises(NotFound):
            theirs.document(sha256(gone))


def test_former_crl_that_is_not_stored_is_not_named_and_stops_nothing(store):
    """A CRL of before that was lost keeps no newer one from being taken."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, base=a_record(DELTA)), {sha256(DELTA): DELTA})
    store.commit_epoch(a_later_epoch(), {sha256(SECOND): SECOND})
    assert (store.epoch(POINT), store.epoch(POINT).former) == (a_later_epoch(), ())


@pytest.mark.parametrize("act", ["retire", "remove"])
def test_former_crl_goes_with_its_issuing_point(store, act):
    """Retired or removed with its CA, it leaves no document behind."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.commit_epoch(a_later_epoch(), {sha256(SECOND): SECOND})
    if act == "retire":
        store.retire(CA, POINT.scope_id)
    else:
        store.remove_authority(CA.id)
    for gone in (FIRST, SECOND):
        with pytest.raises(NotFound):
            store.document(sha256(gone))


def test_former_crl_that_another_ca_answers_from_stays(store):
    """One document may be named twice, and is there until nobody names it."""
    other = an_authority("b")
    for authority in (CA, other):
        store.put_authority(authority)
        store.commit_epoch(an_epoch(authority), {sha256(FIRST): FIRST})
    store.commit_epoch(a_later_epoch(), {sha256(SECOND): SECOND})
    store.commit_epoch(an_epoch(CA, 3, a_record(DELTA, 3, 1200)), {sha256(DELTA): DELTA})
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


def test_put_quarantined_same_point_replaces_older(full_store):
    """One CRL is held back per issuing point; the older one's document goes."""
    full_store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    newer = a_quarantined(CA, DELTA, 3000)
    full_store.put_quarantined(newer, DELTA)
    assert full_store.quarantined() == (newer,)
    with pytest.raises(NotFound):
        full_store.document(sha256(SECOND))


def test_put_quarantined_authority_unknown_not_found(store):
    """Nothing is held back for a CA that is not registered."""
    with pytest.raises(NotFound):
        store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    assert store.quarantined() == ()


def test_commit_epoch_with_quarantined_crl_leaves_quarantine(full_store):
    """Committing the CRL that was held back ends its quarantine in the same step, without giving it again."""
    full_store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    full_store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 9, 1900)), {})
    assert full_store.quarantined() == ()
    assert full_store.document(sha256(SECOND)) == SECOND


def test_commit_epoch_of_another_crl_keeps_quarantine(full_store):
    """A CRL that the epoch does not contain stays held back, with its document."""
    crl = a_quarantined(CA, SECOND)
    full_store.put_quarantined(crl, SECOND)
    full_store.commit_epoch(an_epoch(CA, 2, a_record(DELTA, 2, 1100)), {sha256(DELTA): DELTA})
    assert full_store.quarantined() == (crl,)
    assert full_store.document(sha256(SECOND)) == SECOND


def test_drop_quarantined_forgets_crl_and_document(full_store):
    """Dropping ends the quarantine and takes the document."""
    full_store.put_quarantined(a_quarantined(CA, SECOND), SECOND)
    full_store.drop_quarantined(POINT)
    assert full_store.quarantined() == ()
    with pytest.raises(NotFound):
        full_store.document(sha256(SECOND))


def test_drop_quarantined_nothing_held_back_not_found(full_store):
    """There is nothing to drop: NotFound."""
    with pytest.raises(NotFound):
        full_store.drop_quarantined(POINT)


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


def test_threads_share_one_handle(full_store):
    """One handle serves several threads."""
    points = [f"{number:02x}" for number in range(8)]

    def commit(scope_id: str) -> None:
        full_store.commit_epoch(an_epoch(CA, scope_id=scope_id), {})
        full_store.revision()

    threads = [threading.Thread(target=commit, args=(point,)) for point in points]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [epoch.issuing_point.scope_id for epoch in full_store.epochs()] == [*points, "complete"]
