"""What becomes of each kind of CRL, over a store and index files in memory."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, DAY, HOUR, NOW, moment, name, new_key, serial_octets, shared_key, signing_hash
from tests.service.memory_indexes import MemoryIndexes
from tests.service.recording import ADMIN, AGENT, NOBODY, PUBLISHER, FullAudit, RecordingAudit

from vouchd.core.facts import AuthorityPolicy, IssuingPointId, Reason
from vouchd.errors import (
    CRLForked,
    CRLOutOfOrder,
    CRLQuarantined,
    CRLRejected,
    CRLStale,
    NotFound,
    PermissionDenied,
    StoreConflict,
    StoreUnavailable,
)
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.stores.memory import MemoryStore

HOLD = x509.ReasonFlags.certificate_hold
COMPROMISED = x509.ReasonFlags.key_compromise
REMOVE = x509.ReasonFlags.remove_from_crl


class World:
    """One responder in memory that knows one CA."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.indexes = MemoryIndexes()
        self.audit = RecordingAudit()
        permission = Permission(self.audit)
        self.authorities = Authorities(self.store, permission, self.audit)
        self.indexing = Indexing(self.store, self.indexes)
        self.ingesting = Ingesting(self.store, self.indexing, permission, self.audit)

    def accept(self, crl: bytes, at: int = NOW):
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, at)

    def entries(self, epoch) -> dict[int, Reason]:
        """Serial to reason of the entries served from an epoch."""
        held = self.indexes.files[epoch.index_name]
        return {int.from_bytes(serial, "big", signed=True): entry.reason for serial, entry in held.items()}

    def served(self) -> dict[int, Reason]:
        """The entries of the only issuing point there is."""
        (epoch,) = self.store.epochs()
        return self.entries(epoch)

    def set_policy(self, ca: CA, **changes: object) -> None:
        authority = self.authorities.find(ca.certificate.subject.rfc4514_string())
        self.authorities.set_policy(authority.id, replace(authority.policy, **changes), ADMIN)


@pytest.fixture
def ca():
    return CA.create("Lab CA")


@pytest.fixture
def world(ca):
    world = World()
    world.authorities.add(ca.der, AGENT)
    return world


def point(world) -> IssuingPointId:
    return IssuingPointId(world.store.authorities()[0].id)


def user_certificates() -> x509.IssuingDistributionPoint:
    return partition(only_user=True)


def partition(
    uri: str | None = None, *, only_user: bool = False, indirect: bool = False
) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(uri)] if uri else None,
        relative_name=None,
        only_contains_user_certs=only_user,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )


# Accepted


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


# Refused


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


def test_older_this_update_is_refused(world, ca):
    """A higher number with an earlier thisUpdate goes back in time and is refused."""
    world.accept(ca.crl({5: None}, number=1, this_update=NOW - HOUR))
    with pytest.raises((CRLStale, CRLRejected)):
        world.accept(ca.crl({}, number=2, this_update=NOW - 2 * HOUR))
    assert world.served() == {5: Reason.ABSENT}


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
    assert "ca add" in caught.value.hint


def test_same_name_other_key_goes_to_its_own_ca(world, ca):
    """Of two CAs of one name the key identifier tells whose CRL it is."""
    twin = CA.create("Lab CA", key=shared_key("EC", 5))
    added = world.authorities.add(twin.der, AGENT)
    (epoch,) = world.accept(twin.crl({5: None}))
    assert epoch.issuing_point.authority_id == added.id
    (other,) = world.accept(ca.crl({6: None}))
    assert other.issuing_point.authority_id != added.id


def test_same_name_other_key_without_key_identifier_the_signature_decides(world, ca):
    """A CRL that names no key is the CA's that signed it; sent again it is stale, not badly signed by the twin."""
    twin = CA.create("Lab CA", key=shared_key("EC", 5))
    added = world.authorities.add(twin.der, AGENT)
    for issuer in (twin, ca):
        crl = indirect_crl(issuer, [], 1, idp=None)
        (epoch,) = world.accept(crl)
        assert (epoch.issuing_point.authority_id == added.id) is (issuer is twin)
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


# Delta CRLs


def test_delta_is_merged_over_its_base(world, ca):
    """A delta adds, changes and, by removeFromCRL, takes entries away; the base stays as it is."""
    (base,) = world.accept(ca.crl({1: HOLD, 2: HOLD, 3: None}, number=10, this_update=NOW - 2 * HOUR))
    (epoch,) = world.accept(ca.crl({1: REMOVE, 2: COMPROMISED, 4: None, 9: REMOVE}, number=11, base=10))
    assert world.served() == {2: Reason.KEY_COMPROMISE, 3: Reason.ABSENT, 4: Reason.ABSENT}
    assert (epoch.sequence, epoch.base, epoch.delta.base_crl_number) == (2, base.base, 10)
    assert (epoch.delta.entry_count, epoch.this_update) == (4, NOW - HOUR)
    assert world.store.document(epoch.base.sha256)
    assert world.store.document(epoch.delta.sha256)


def test_newer_delta_replaces_the_delta(world, ca):
    """Deltas are cumulative since their base: only the newest counts."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 3 * HOUR))
    (old,) = world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    world.accept(ca.crl({3: None}, number=12, base=10))
    assert set(world.served()) == {1, 3}
    with pytest.raises(NotFound):
        world.store.document(old.delta.sha256)


def test_older_delta_is_stale(world, ca):
    """A delta with a lower number than the one held is refused."""
    world.accept(ca.crl({}, number=10, this_update=NOW - 3 * HOUR))
    world.accept(ca.crl({1: None}, number=12, base=10, this_update=NOW - HOUR))
    with pytest.raises(CRLStale):
        world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    assert set(world.served()) == {1}


@pytest.mark.parametrize("base", [None, 9])
def test_delta_without_its_base_is_out_of_order(world, ca, base):
    """A delta needs a base of at least the number that it names."""
    if base is not None:
        world.accept(ca.crl({}, number=base, this_update=NOW - 3 * HOUR))
    with pytest.raises(CRLOutOfOrder):
        world.accept(ca.crl({1: None}, number=11, base=10))
    assert all(epoch.delta is None for epoch in world.store.epochs())


def test_new_base_drops_the_delta_it_includes(world, ca):
    """A base at least as new as the delta makes it superfluous."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 3 * HOUR))
    world.accept(ca.crl({2: None}, number=11, base=10, this_update=NOW - 2 * HOUR))
    (epoch,) = world.accept(ca.crl({2: None}, number=12))
    assert epoch.delta is None
    assert set(world.served()) == {2}


def test_new_base_keeps_a_delta_that_is_still_newer(world, ca):
    """A base that comes late, older than the delta but usable with it, keeps the delta."""
    world.accept(ca.crl({1: HOLD}, number=10, this_update=NOW - 4 * HOUR))
    (with_delta,) = world.accept(ca.crl({1: REMOVE, 2: None}, number=14, base=10, this_update=NOW - HOUR))
    (epoch,) = world.accept(ca.crl({1: HOLD, 3: None}, number=12, this_update=NOW - 2 * HOUR))
    assert epoch.delta == with_delta.delta
    assert epoch.base.crl_number == 12
    assert epoch.base.entry_count == 2
    assert set(world.served()) == {2, 3}


def test_remove_from_crl_in_a_full_crl_is_rejected(world, ca):
    """removeFromCRL has a meaning in a delta only (RFC 5280 5.3.1)."""
    with pytest.raises(CRLRejected):
        world.accept(ca.crl({1: REMOVE}))
    assert world.store.epochs() == ()


# Scopes


def test_partitions_are_issuing_points_of_their_own(world, ca):
    """Each distribution point has its own epochs and numbers."""
    parts = [partition(f"http://ca.test/{number}.crl") for number in (1, 2)]
    for serial, part in enumerate(parts, 1):
        world.accept(ca.crl({serial: None}, number=5, idp=part))
    first, second = world.store.epochs()
    assert first.issuing_point != second.issuing_point
    assert {first.sequence, second.sequence} == {1}
    assert set(world.entries(first)) | set(world.entries(second)) == {1, 2}
    assert first.idp_der
    with pytest.raises(CRLStale):
        world.accept(ca.crl({9: None}, number=4, idp=parts[0], this_update=NOW - 2 * HOUR))


def test_delta_of_another_scope_is_out_of_order(world, ca):
    """A delta fits only the base of its own scope."""
    world.accept(ca.crl({}, number=10, this_update=NOW - 3 * HOUR))
    with pytest.raises(CRLOutOfOrder):
        world.accept(ca.crl({1: None}, number=11, base=10, idp=user_certificates()))


INDIRECT = partition("http://ca.test/indirect.crl", indirect=True)


def indirect_crl(issuer: CA, entries: list[tuple[int, str | None]], number: int, idp=INDIRECT) -> bytes:
    """DER of an indirect CRL; an entry's second part begins the entries of another certificate issuer."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(moment(NOW - HOUR))
        .next_update(moment(NOW + DAY))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if idp is not None:
        builder = builder.add_extension(idp, critical=True)
    for serial, certificate_issuer in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(NOW - DAY))
        if certificate_issuer:
            entry = entry.add_extension(
                x509.CertificateIssuer([x509.DirectoryName(name(certificate_issuer))]), critical=True
            )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, signing_hash(issuer.key)).public_bytes(Encoding.DER)


def test_indirect_crl_serves_each_ca_its_own_entries(world, ca):
    """One indirect CRL makes an epoch of every CA that takes it, each with its own entries."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    other = CA.create("Other CA", key=shared_key("EC", 6))
    world.authorities.add(other.der, AGENT)
    for each in (ca, other):
        world.set_policy(each, crl_issuers=(issuer.der,))
    epochs = world.accept(indirect_crl(issuer, [(1, "Lab CA"), (2, None), (3, "Other CA"), (4, "Third CA")], 1))
    by_ca = {epoch.issuing_point.authority_id: epoch for epoch in epochs}
    assert set(world.entries(by_ca[world.authorities.find("CN=Lab CA").id])) == {1, 2}
    assert set(world.entries(by_ca[world.authorities.find("CN=Other CA").id])) == {3}


def test_indirect_crl_of_an_issuer_that_nobody_named_is_rejected(world, ca):
    """Whoever signs an indirect CRL must have been named for the CA."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    with pytest.raises(CRLRejected, match="CRL issuer"):
        world.accept(indirect_crl(issuer, [(1, "Lab CA")], 1))


def test_direct_crl_of_a_named_issuer_is_not_for_the_ca(world, ca):
    """A named issuer's ordinary CRL speaks of its own certificates, not of the CA's."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    world.set_policy(ca, crl_issuers=(issuer.der,))
    with pytest.raises(CRLRejected):
        world.accept(issuer.crl({1: None}))
    assert world.store.epochs() == ()


def test_indirect_crl_one_ca_late_gets_its_epoch_on_resending(world, ca):
    """Sent again, an indirect CRL reaches the CA that was registered meanwhile; the other's is held already."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    world.set_policy(ca, crl_issuers=(issuer.der,))
    crl = indirect_crl(issuer, [(1, "Lab CA"), (3, "Other CA")], 1)
    world.accept(crl)
    other = CA.create("Other CA", key=shared_key("EC", 6))
    added = world.authorities.add(other.der, AGENT)
    world.set_policy(other, crl_issuers=(issuer.der,))
    (epoch,) = world.accept(crl)
    assert epoch.issuing_point.authority_id == added.id
    with pytest.raises(CRLStale):
        world.accept(crl)


def test_indirect_crl_held_back_for_one_ca_is_taken_for_the_other(world, ca):
    """The CA whose policy finds it abnormal keeps its epoch and the sender is told; the other CA has the new one."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 5))
    other = CA.create("Other CA", key=shared_key("EC", 6))
    world.authorities.add(other.der, AGENT)
    world.set_policy(ca, crl_issuers=(issuer.der,), quarantine_percent=20)
    world.set_policy(other, crl_issuers=(issuer.der,))
    world.accept(indirect_crl(issuer, [(1, "Lab CA"), (3, "Other CA")], 1))
    with pytest.raises(CRLQuarantined):
        world.accept(indirect_crl(issuer, [(4, "Other CA")], 2))
    numbers = {epoch.issuing_point.authority_id: epoch.base.crl_number for epoch in world.store.epochs()}
    assert numbers == {world.authorities.find("CN=Lab CA").id: 1, world.authorities.find("CN=Other CA").id: 2}


# Quarantine


@pytest.fixture
def guarded(world, ca):
    """A world whose CA holds back a CRL that changes more than a fifth; ten entries are held."""
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1, this_update=NOW - 5 * HOUR))
    return world


def test_abnormal_loss_is_held_back_and_the_old_epoch_served(guarded, ca):
    """A CRL that lost most of its entries is kept aside with the reason; answers stay as they were."""
    crl = ca.crl({1: None}, number=2)
    with pytest.raises(CRLQuarantined) as caught:
        guarded.accept(crl)
    (held,) = guarded.store.quarantined()
    assert caught.value.hint
    assert (held.record.crl_number, held.received_at, held.origin) == (2, NOW, "push")
    assert "9" in held.why
    assert guarded.store.document(held.record.sha256) == crl
    assert len(guarded.served()) == 10


def test_held_back_crl_sent_again_keeps_its_arrival(guarded, ca):
    """A source that sends it at every interval changes nothing."""
    crl = ca.crl({1: None}, number=2)
    with pytest.raises(CRLQuarantined):
        guarded.accept(crl)
    before = guarded.store.revision(), guarded.store.quarantined()
    with pytest.raises(CRLQuarantined):
        guarded.accept(crl, NOW + 60)
    assert (guarded.store.revision(), guarded.store.quarantined()) == before


def test_replaced_entries_count_although_their_number_is_the_same(guarded, ca):
    """What matters is which serials went and came, not how many there are."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(8, 18)), number=2))


@pytest.mark.parametrize("serials", [range(1, 13), range(1, 9), range(3, 13)])
def test_change_up_to_the_share_is_taken(guarded, ca, serials):
    """Exactly the share is still normal."""
    guarded.accept(ca.crl(dict.fromkeys(serials), number=2))
    assert set(guarded.served()) == set(serials)


def test_first_crl_is_never_held_back(world, ca):
    """Without entries to compare with nothing is abnormal."""
    world.set_policy(ca, quarantine_percent=1)
    world.accept(ca.crl({1: None, 2: None}))
    assert set(world.served()) == {1, 2}


def test_abnormal_delta_is_held_back(guarded, ca):
    """A delta is weighed by what it makes of the whole."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(1, 10), REMOVE), number=2, base=1))
    assert len(guarded.served()) == 10


def test_release_takes_the_crl_and_ends_its_quarantine(guarded, ca):
    """A released CRL becomes the next epoch, accepted at the moment of release."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2))
    epoch = guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    assert (epoch.sequence, epoch.accepted_at, epoch.base.crl_number, epoch.origin) == (2, NOW + 60, 2, "push")
    assert set(guarded.served()) == {1}
    assert guarded.store.quarantined() == ()


def test_release_of_a_delta_merges_it(guarded, ca):
    """A delta held back is released onto its base."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl(dict.fromkeys(range(1, 10), REMOVE), number=2, base=1))
    guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    assert set(guarded.served()) == {10}


def test_release_after_a_newer_crl_is_stale_and_can_be_dropped(guarded, ca):
    """What has been overtaken is not released; it stays until it is dropped."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2, this_update=NOW - 2 * HOUR))
    guarded.accept(ca.crl(dict.fromkeys(range(1, 12)), number=3))
    with pytest.raises(CRLStale):
        guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW + 60)
    guarded.ingesting.drop_quarantined(point(guarded), AGENT)
    assert guarded.store.quarantined() == ()
    assert len(guarded.served()) == 11


def test_release_and_drop_nothing_held_back_not_found(guarded):
    """There is nothing to decide on: NotFound."""
    with pytest.raises(NotFound):
        guarded.ingesting.release_quarantined(point(guarded), AGENT, NOW)
    with pytest.raises(NotFound):
        guarded.ingesting.drop_quarantined(point(guarded), AGENT)


def test_release_by_the_publisher_is_refused(guarded, ca):
    """Who may send CRLs may not release the one that was held back."""
    with pytest.raises(CRLQuarantined):
        guarded.accept(ca.crl({1: None}, number=2))
    with pytest.raises(PermissionDenied):
        guarded.ingesting.release_quarantined(point(guarded), PUBLISHER, NOW)
    with pytest.raises(PermissionDenied):
        guarded.ingesting.drop_quarantined(point(guarded), PUBLISHER)
    assert len(guarded.store.quarantined()) == 1


# Rollback


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


# Other writers


class Racing(MemoryStore):
    """A store in which others commit just before us, as often as `others` says."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list = []

    def commit_epoch(self, epoch, documents) -> None:
        if self.others:
            other = self.others.pop(0)
            other()
        super().commit_epoch(epoch, documents)


@pytest.fixture
def racing(ca):
    world = World(Racing())
    world.authorities.add(ca.der, AGENT)
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - 5 * HOUR))
    return world


def overtake(world, crl: bytes):
    """Commit `crl` as another process would."""
    return lambda: World(world.store).accept(crl)


def test_another_writer_was_quicker_the_crl_is_judged_again_and_taken(racing, ca):
    """After a conflict the CRL is judged against the new epoch and follows it."""
    racing.store.others = [overtake(racing, ca.crl({2: None}, number=2, this_update=NOW - 2 * HOUR))]
    (epoch,) = racing.accept(ca.crl({3: None}, number=3))
    assert (epoch.sequence, set(racing.served())) == (3, {3})


def test_another_writer_brought_a_newer_crl_ours_is_stale(racing, ca):
    """After a conflict a CRL may have become the older one."""
    racing.store.others = [overtake(racing, ca.crl({3: None}, number=3))]
    with pytest.raises(CRLStale):
        racing.accept(ca.crl({2: None}, number=2, this_update=NOW - 2 * HOUR))
    (epoch,) = racing.store.epochs()
    assert epoch.base.crl_number == 3


def test_another_writer_was_quicker_twice_conflict(racing, ca):
    """It is tried twice, not for ever."""
    racing.store.others = [
        overtake(racing, ca.crl({2: None}, number=2, this_update=NOW - 4 * HOUR)),
        lambda: None,
        overtake(racing, ca.crl({3: None}, number=3, this_update=NOW - 3 * HOUR)),
    ]
    with pytest.raises(StoreConflict):
        racing.accept(ca.crl({4: None}, number=4))


# Index files


def test_missing_index_is_rebuilt_from_the_store(world, ca):
    """An index file that was lost comes back from the documents, with the delta merged."""
    world.accept(ca.crl({1: HOLD, 2: None}, number=10, this_update=NOW - 2 * HOUR))
    world.accept(ca.crl({1: REMOVE, 4: None}, number=11, base=10))
    world.indexes.files.clear()
    facts = world.indexing.prepare()
    assert facts.epochs == world.store.epochs()
    assert (facts.revision, facts.authorities) == (world.store.revision(), world.store.authorities())
    assert set(world.served()) == {2, 4}


def test_prepare_in_order_builds_nothing(world, ca):
    """Looking at a store whose index files are all there costs no building."""
    world.accept(ca.crl({1: None}))
    built = world.indexes.built
    world.indexing.prepare()
    assert world.indexes.built == built


def test_prepare_makes_the_issued_serials_file(world, ca):
    """The list of issued serials is served from a file too."""
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n2\n", AGENT)
    world.indexing.prepare()
    (serials,) = world.indexes.files.values()
    assert set(serials) == {serial_octets(1), serial_octets(2)}


def test_prepare_store_changes_meanwhile_facts_are_of_one_revision(world, ca):
    """A change between two readings is not mixed into the facts."""
    world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    world.indexes.files.clear()
    newer = ca.crl({2: None}, number=2)
    original, once = world.store.authorities, [newer]

    def authorities():
        if once:
            World(world.store).accept(once.pop())
        return original()

    world.store.authorities = authorities
    facts = world.indexing.prepare()
    assert facts.revision == world.store.revision()
    assert [epoch.base.crl_number for epoch in facts.epochs] == [2]


def test_collect_garbage_removes_what_nothing_names(world, ca):
    """Files of old epochs go, those of current epochs and lists stay."""
    (old,) = world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    (new,) = world.accept(ca.crl({2: None}, number=2))
    world.authorities.set_issued_serials("CN=Lab CA", b"1\n", AGENT)
    world.indexing.prepare()
    assert world.indexing.collect_garbage() == {old.index_name}
    assert new.index_name in world.indexes.names()
    assert len(world.indexes.names()) == 2


def test_policy_default_holds_nothing_back():
    """Quarantine is off until an operator sets a share."""
    assert AuthorityPolicy().quarantine_percent is None
