"""Which CRLs are taken and which are refused, over a store and index files in memory."""

from __future__ import annotations

import base64

import pytest
from tests.pki import CA, DAY, HOUR, NOW, new_key, shared_key
from tests.service.recording import AGENT, NOBODY, PUBLISHER, FullAudit
from tests.service.world import (
    COMPROMISED,
    indirect_crl,
)

from vouchd.errors import (
    CRLForked,
    CRLRejected,
    CRLStale,
    NotFound,
    PermissionDenied,
    StoreUnavailable,
)
from vouchd.pkix.reasons import Reason
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission


def test_first_crl_becomes_epoch_one(world, ca):
    """The first CRL makes epoch 1 with the CRL's facts, the moment of acceptance and its index."""
    crl = ca.crl({5: COMPROMISED, 6: None}, number=7)
    (epoch,) = world.accept(crl)
    assert world.store.epochs() == (epoch,)
    assert (epoch.sequence, epoch.accepted_at, epoch.origin, epoch.delta, epoch.idp_der) == (1, NOW, "push", None, b"")
    record = epoch.base
    assert (record.crl_number, record.this_update, record.next_update) == (7, NOW - HOUR, NOW + DAY)
    assert (record.size_bytes, record.entry_count) == (len(crl), 2)
    assert world.store.document(record.sha256) == crl
    assert world.served() == {5: Reason.KEY_COMPROMISE, 6: Reason.ABSENT}


def test_newer_crl_becomes_the_next_epoch(world, ca):
    """A newer CRL takes the place of the old one, whose document goes."""
    (first,) = world.accept(ca.crl({5: None}, number=1, this_update=NOW - 2 * HOUR))
    (second,) = world.accept(ca.crl({6: None}, number=2), NOW + 1)
    assert (second.sequence, second.accepted_at) == (2, NOW + 1)
    assert world.served() == {6: Reason.ABSENT}
    with pytest.raises(NotFound):
        world.store.document(first.base.sha256)


@pytest.mark.parametrize("label", ["X509 CRL", "CERTIFICATE REVOCATION LIST", None])
def test_crl_as_pem_or_base64_is_the_same_crl(world, ca, label):
    """PEM with either header and bare base64 give the epoch of the DER inside."""
    der = ca.crl({5: None})
    text = base64.encodebytes(der)
    data = (
        text
        if label is None
        else b"-----BEGIN %b-----\n%b-----END %b-----\n"
        % (
            label.encode(),
            text,
            label.encode(),
        )
    )
    (epoch,) = world.accept(data)
    assert world.store.document(epoch.base.sha256) == der


def test_crl_given_as_view_is_taken(world, ca):
    """A view of a mapped file serves as well as bytes."""
    der = ca.crl({5: None})
    (epoch,) = world.accept(memoryview(der))
    assert world.store.document(epoch.base.sha256) == der


def test_empty_crl_is_taken(world, ca):
    """A CRL without entries revokes nothing."""
    world.accept(ca.crl({}))
    assert world.served() == {}


def test_replayed_crl_is_stale_and_changes_nothing(world, ca):
    """The CRL that is held already is refused as such, in whatever form it comes."""
    crl = ca.crl({5: None})
    world.accept(crl)
    before = world.store.revision()
    with pytest.raises(CRLStale):
        world.accept(crl)
    with pytest.raises(CRLStale):
        world.accept(base64.b64encode(crl))
    assert world.store.revision() == before


def test_older_number_is_stale(world, ca):
    """A lower CRL number is refused although its thisUpdate is later."""
    world.accept(ca.crl({5: None}, number=9, this_update=NOW - 2 * HOUR))
    with pytest.raises(CRLStale):
        world.accept(ca.crl({}, number=8, this_update=NOW - HOUR))
    assert world.served() == {5: Reason.ABSENT}


def test_lower_number_is_refused_whatever_its_this_update(world, ca):
    """RFC 5280 5.2.3: where both have a number it tells which CRL is newer, not thisUpdate."""
    world.accept(ca.crl({5: None}, number=2, this_update=NOW - HOUR))
    with pytest.raises(CRLStale):
        world.accept(ca.crl({}, number=1, this_update=NOW))
    assert world.served() == {5: Reason.ABSENT}
    world.accept(ca.crl({5: None, 6: None}, number=3, this_update=NOW - 2 * HOUR))
    assert set(world.served()) == {5, 6}


def test_same_number_other_bytes_is_forked(world, ca):
    """Two CRLs of one number mean that the CA, or somebody with its key, speaks with two tongues."""
    world.accept(ca.crl({5: None}, number=4))
    with pytest.raises(CRLForked):
        world.accept(ca.crl({}, number=4, this_update=NOW - HOUR + 1))
    assert world.served() == {5: Reason.ABSENT}


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x30\x03\x02\x01\x05", b"\x30\x80", bytes(100), b"0" * 99])
def test_garbage_is_rejected_with_hint(world, data):
    """What is no CRL at all is refused and recorded."""
    with pytest.raises(CRLRejected) as caught:
        world.accept(data)
    assert caught.value.hint
    assert world.audit.events[-1] == ("CRL_VALIDATION", "failure")


def test_truncated_crl_is_rejected_and_leaves_no_document(world, ca):
    """A CRL whose transfer broke off is refused wherever it broke off."""
    crl = ca.crl({5: None, 6: None})
    for length in range(1, len(crl), 37):
        with pytest.raises(CRLRejected):
            world.accept(crl[:length])
    assert (world.store.epochs(), world.indexes.built) == ((), 0)


def test_junk_after_the_crl_is_rejected(world, ca):
    """Bytes after the CRL are an error, not ignored."""
    with pytest.raises(CRLRejected):
        world.accept(ca.crl({5: None}) + b"\0")


def test_bad_signature_is_rejected_before_anything_is_written(world, ca):
    """Nothing of a CRL that its CA did not sign reaches the store or the index folder."""
    with pytest.raises(CRLRejected):
        world.accept(ca.crl({5: None}, key=new_key()))
    assert (world.store.epochs(), world.indexes.built) == ((), 0)


def test_unknown_ca_is_rejected_by_name(world):
    """The message names the issuer, so that the operator sees which CA is missing."""
    with pytest.raises(CRLRejected, match="Stranger") as caught:
        world.accept(CA.create("Stranger").crl())
    assert "authority add" in caught.value.hint


def test_crl_of_a_new_key_speaks_for_the_name(world, ca):
    """RFC 5280 6.3.3 (b)(1), (f): a CRL is matched by its issuer's name, and any key of the CA may have signed it."""
    renewed = CA.create("Lab CA", key=shared_key("EC", 5))
    added = world.authorities.add(renewed.der, AGENT).subject
    (first,) = world.accept(ca.crl({6: None}, number=1))
    (second,) = world.accept(renewed.crl({5: None}, number=2))
    assert first.issuing_point == second.issuing_point
    assert first.issuing_point.authority_id == added.id
    assert set(world.served()) == {5}


def test_crl_without_key_identifier_the_signature_decides(world, ca):
    """A CRL that names no key is taken when any key of the CA's history has signed it; sent again it is stale."""
    renewed = CA.create("Lab CA", key=shared_key("EC", 5))
    world.authorities.add(renewed.der, AGENT)
    for number, issuer in enumerate((renewed, ca), 1):
        crl = indirect_crl(issuer, [], number, idp=None)
        world.accept(crl)
        with pytest.raises(CRLStale):
            world.accept(crl)


def test_same_name_new_key_of_the_ca_is_told(world):
    """When the CA has changed its key the message says so instead of calling the CA unknown."""
    with pytest.raises(CRLRejected, match="authorityKeyIdentifier"):
        world.accept(CA.create("Lab CA", key=shared_key("EC", 5)).crl())


def test_caller_without_right_is_refused_before_the_crl_is_looked_at(world, ca):
    """Permission comes first."""
    with pytest.raises(PermissionDenied):
        world.ingesting.accept_crl(b"garbage", "push", NOBODY, NOW)


def test_audit_unavailable_nothing_taken(world, ca):
    """No record, no act."""
    ingesting = Ingesting(world.store, world.indexing, Permission(FullAudit()), FullAudit())
    with pytest.raises(StoreUnavailable):
        ingesting.accept_crl(ca.crl({5: None}), "push", PUBLISHER, NOW)
    assert world.store.epochs() == ()


def test_accepted_and_refused_crls_are_recorded(world, ca):
    """The log tells which CRL was taken, and why another was not."""
    crl = ca.crl({5: None}, number=3)
    (epoch,) = world.accept(crl)
    event, caller, outcome, detail = world.audit.records[-1]
    assert (event, caller, outcome) == ("CRL_RETRIEVAL", PUBLISHER.name, "success")
    assert (detail["crl_number"], detail["sha256"], detail["sequence"]) == (3, epoch.base.sha256, 1)
    with pytest.raises(CRLStale):
        world.accept(crl)
    event, _, outcome, detail = world.audit.records[-1]
    assert (event, outcome) == ("CRL_VALIDATION", "failure")
    assert detail["why"].startswith("CRLStale")


def test_rollback_after_removing_and_adding_the_ca_is_refused(world, ca):
    """The highest number outlives the CA: an old CRL does not come back with it, the newest does."""
    old = ca.crl({}, number=1, this_update=NOW - 3 * HOUR)
    newest = ca.crl({5: None}, number=2, this_update=NOW - 2 * HOUR)
    world.accept(old)
    world.accept(newest)
    world.authorities.remove("CN=Lab CA", AGENT)
    world.authorities.add(ca.der, AGENT)
    with pytest.raises(CRLStale):
        world.accept(old)
    assert world.store.epochs() == ()
    (epoch,) = world.accept(newest)
    assert (epoch.sequence, world.served()) == (1, {5: Reason.ABSENT})
