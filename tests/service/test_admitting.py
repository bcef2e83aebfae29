"""What a member makes of the facts that others wrote into its store: see also tests/laws/test_law1…, fact by fact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.laws.test_law1_only_what_is_verified_is_answered import Member, Now, foreign_key
from tests.pki import CA, DAY, HOUR, NOW, ca_version, moment, shared_key, signing_hash
from tests.service.recording import AGENT, RecordingAudit
from tests.service.test_audited import RecordingTracing, sha256
from tests.service.world import World, partition

from vouchd.core.acceptance import FUTURE_TOLERANCE_SECONDS
from vouchd.core.facts import AuthorityFacts, Epoch
from vouchd.errors import CRLRejected, StoreUnavailable, VouchdError
from vouchd.service import crl_proof
from vouchd.service.admitting import STORE, Admitting, Refusal, Served
from vouchd.service.arrivals import Received
from vouchd.stores.sqlite.store import SqliteStore

REVOKED = {0x1001: None}


@pytest.fixture
def member(tmp_path) -> Iterator[Member]:
    """A member that has served CRL 5."""
    member = Member(tmp_path, SqliteStore(tmp_path / "facts.sqlite"))
    member.audit.records.clear()
    yield member
    member.store.close()


class Look:
    """A member over the facts of a world, in which whatever is there was written by another member."""

    def __init__(self, world: World, served: Mapping[str, AuthorityFacts] | None = None) -> None:
        self.world, self.clock, self.tracing = world, Now(), RecordingTracing()
        self.admitting = Admitting(lambda: Served(served or {}, verified=True), self.clock, self.tracing)
        self.admitting.audit = self.audit = RecordingAudit()

    def stored(self, *epochs: Epoch) -> dict[str, AuthorityFacts]:
        """The facts of the store, with these epochs in place of its own."""
        authorities, every = self.world.store.authorities(), epochs or self.world.store.epochs()
        return {
            one.id: AuthorityFacts(one, tuple(epoch for epoch in every if epoch.issuing_point.authority_id == one.id))
            for one in authorities
        }

    def admit(self, *epochs: Epoch, removed=()):
        return self.admitting.admit(self.stored(*epochs), self.world.indexing, removed)


@pytest.fixture
def look(world, ca):
    """A look at a store with one CRL of the CA."""
    world.accept(ca.crl(REVOKED, number=5, this_update=NOW - 2 * HOUR))
    return Look(world)


def test_refusal_is_logged_and_recorded_once_and_its_end_is_logged(member, caplog):
    """By CA and scope, with the words and what tells the CRL from others; nothing more while it stays the same."""
    caplog.set_level(logging.WARNING)
    (served,) = member.store.epochs()
    point = served.issuing_point
    epoch, documents = foreign_key(member)
    member.store.commit_epoch(epoch, documents)
    for _ in range(3):
        (refusal,) = member.indexing.prepare().refusals
        assert (refusal.point, refusal.label, refusal.epoch) == (point, member.authority.label, epoch)
    facts = {"target": f"{point.authority_id} {point.scope_id}", "why": refusal.why, "origin": "planted"}
    facts |= {"crl_number": 1005, "sha256": epoch.newest.sha256}
    assert member.audit.records == [("CRL_VALIDATION", STORE.name, "failure", facts)]
    label = member.authority.label
    assert caplog.messages == [f"{label}, scope {point.scope_id}: not served as the store has it: {refusal.why}"]
    caplog.clear()
    member.accept(6, tuple(REVOKED), NOW - HOUR)
    assert not member.indexing.prepare().refusals
    assert caplog.messages == [f"{label}: what the store has of scope {point.scope_id} is served again"]


def test_epoch_that_the_store_has_lost_is_served_on_and_said_to_be_lost(member):
    """There is no CRL to name; what is served goes on, as one that the store does not have."""
    (served,) = member.store.epochs()
    member.store.adopt(replace(member.store.facts(), epochs=()), {})
    facts = member.indexing.prepare()
    why = "the store has lost the CRL that is served"
    assert facts.refusals == (Refusal(served.issuing_point, member.authority.label, None, why),)
    assert facts.epochs == (served,)
    point = f"{served.issuing_point.authority_id} {served.issuing_point.scope_id}"
    detail = {"target": point, "why": why, "crl_number": "none", "sha256": "", "origin": ""}
    assert member.audit.records == [("CRL_VALIDATION", STORE.name, "failure", detail)]
    admitted = member.indexing.admitting.admit(
        {member.authority.id: AuthorityFacts(member.authority, ())}, member.indexing
    )
    assert (admitted.kept, admitted.known) == ({served.issuing_point}, ())


def test_older_epoch_is_refused_with_both_numbers(member):
    """What this member has served is not taken back by a store; the numbers, where there are any, tell which is which."""
    epoch, crl = member.older
    member.store.adopt(replace(member.store.facts(), epochs=(epoch,)), {epoch.base.sha256: crl})
    (refusal,) = member.indexing.prepare().refusals
    assert (refusal.epoch, refusal.label, refusal.lasting) == (epoch, member.authority.label, True)
    assert refusal.why == "CRL 4 is older than CRL 5, which this member has served"


def test_new_keys_of_cas_are_logged_and_recorded_once(look, caplog):
    """Certificates and CRL issuers that were not there in what is served, by fingerprint; CAs that are new have none."""
    caplog.set_level(logging.WARNING)
    world, other = look.world, CA.create("Other CA", key=shared_key("EC", 6))
    world.authorities.add(other.der, AGENT)
    world.authorities.add(CA.create("Able CA").der, AGENT)
    later = Look(world, look.stored())
    later.admit()
    assert later.audit.records == []
    world.authorities.add(CA.create("A new CA").der, AGENT)
    issuers = [CA.create("CRL issuer", key=shared_key("EC", number)).der for number in (7, 8, 9)]
    world.set_policy(CA.create("Lab CA"), crl_issuers=tuple(issuers[:2]))
    world.set_policy(other, crl_issuers=(issuers[2],))
    unheard = Look(world, look.stored())
    unheard.admitting.audit = None
    for _ in range(2):
        later.admit()
        unheard.admit()
    expected = {
        world.authorities.find("CN=Lab CA").id: ", ".join(sorted(map(sha256, issuers[:2]))),
        world.authorities.find("CN=Other CA").id: sha256(issuers[2]),
    }
    assert [record[:3] for record in later.audit.records] == [("CA_KEYS_SEEN", "store", "success")] * 2
    assert {record[3]["target"]: record[3]["certificates"] for record in later.audit.records} == expected
    assert sorted(caplog.messages) == sorted(
        f"{world.store.authority(each).label}: new keys or CRL issuers in the store: {shown}"
        for each, shown in expected.items()
    )


@pytest.mark.parametrize("ahead", [FUTURE_TOLERANCE_SECONDS, FUTURE_TOLERANCE_SECONDS + 1])
@pytest.mark.parametrize("fact", ["accepted_at", "this_update"])
def test_time_that_lies_ahead_is_refused_until_it_has_come(world, ca, fact: str, ahead: int):
    """Clocks differ by little; what lies further ahead is judged anew in the second in which it does no more."""
    crl_at = NOW + ahead if fact == "this_update" else NOW - HOUR
    (epoch,) = world.accept(ca.crl(REVOKED, number=5, this_update=crl_at, next_update=NOW + DAY), NOW + 2 * HOUR)
    epoch = replace(epoch, accepted_at=NOW + ahead if fact == "accepted_at" else NOW)
    look = Look(world)
    admitted = look.admit(epoch)
    if ahead == FUTURE_TOLERANCE_SECONDS:
        assert (admitted.epochs, admitted.refusals) == ((epoch,), ())
        return
    (refusal,) = admitted.refusals
    assert (admitted.epochs, refusal.lasting, refusal.passes_at) == ((), True, NOW + 1)
    assert "in the future" in refusal.why
    assert not look.admitting.is_due(admitted.refusals)
    assert look.admit(epoch).refusals == admitted.refusals
    look.clock.at = NOW + 1
    assert look.admitting.is_due(admitted.refusals)
    assert look.admit(epoch).epochs == (epoch,)


def test_crl_that_cannot_be_read_yet_is_refused_for_now(look, monkeypatch):
    """It may be on its way: it has to be served, is judged anew at the next look, and is due for nobody's clock."""
    (epoch,) = look.world.store.epochs()
    document = look.world.indexing.document

    def away(_):
        raise StoreUnavailable("away")

    monkeypatch.setattr(look.world.indexing, "document", away)
    admitted = look.admit()
    (refusal,) = admitted.refusals
    assert (refusal.point, refusal.label, refusal.epoch, refusal.lasting) == (
        epoch.issuing_point,
        "CN=Lab CA",
        epoch,
        False,
    )
    assert refusal.why == "the CRL itself cannot be read: away"
    assert (admitted.epochs, admitted.known, admitted.kept) == ((), (epoch,), frozenset())
    assert not look.admitting.is_due(admitted.refusals)
    monkeypatch.setattr(look.world.indexing, "document", document)
    assert look.admit().epochs == (epoch,)


def test_crl_is_verified_once_and_anew_when_a_key_of_its_ca_goes(look):
    """Each costs one verification, which is traced; one more key is none, and one that went is."""
    world, (epoch,) = look.world, look.world.store.epochs()
    (alone,) = world.store.authorities()
    with_another = world.authorities.add(CA.create("Lab CA", key=shared_key("EC", 7)).der, AGENT).subject
    with_third = world.authorities.add(CA.create("Lab CA", key=shared_key("EC", 8)).der, AGENT).subject
    step = (epoch.base.sha256, "followed", {"ca": epoch.issuing_point.authority_id})
    for authority, verifications in ((with_another, 1), (with_another, 1), (with_third, 1), (alone, 2), (alone, 2)):
        world.store.put_authority(authority)
        assert look.admit().epochs == (epoch,)
        assert look.tracing.steps == [step] * verifications


@pytest.fixture
def few_are_many(monkeypatch):
    """As many as a test has are shared among processes."""
    monkeypatch.setattr(crl_proof, "LEAST", 1)


@pytest.mark.usefixtures("few_are_many")
def test_what_another_process_verified_is_not_judged_again_and_all_else_is(look, ca):
    """A key that it names is its proof; what it refuses, or says nothing good of, is judged here, and so refused here."""
    world, (epoch,) = look.world, look.world.store.epochs()
    keys: list[tuple[str, ...]] = []

    def outcomes(checks: Mapping[str, Callable[[], str]]) -> dict[str, str | VouchdError]:
        keys.append(tuple(check() for check in checks.values()))
        return {name: said or key for name, key in zip(checks, keys[-1], strict=True)}

    look.admitting.outcomes, said = outcomes, CRLRejected("not verified there")
    assert look.admit().epochs == (epoch,)
    assert len(look.tracing.steps) == 1, "judged here, and admitted"
    other = Look(world)
    other.admitting.outcomes, said = outcomes, ""
    assert other.admit().epochs == other.admit().epochs == (epoch,)
    assert other.tracing.steps == []
    assert keys == [(epoch.issuer_key,)] * 2, "what was verified is not judged there again"
    keys.clear()
    altered = Look(world)
    altered.admitting.outcomes = lambda checks: dict.fromkeys(checks, "another key")
    (refusal,) = altered.admit().refusals
    assert refusal.why == "the store names another key of the CA than the CRL is signed with"
    assert (altered.admit().refusals, keys) == ((refusal,), [])


def test_few_crls_are_judged_here_and_followed_on_their_way(look):
    """Another process does not pay for them, and what one does there stands in no trace."""
    look.admitting.outcomes = lambda checks: seen.append(len(checks)) or {}
    seen: list[int] = []
    assert look.admit().epochs
    assert (seen, len(look.tracing.steps)) == ([], 1)


@pytest.mark.usefixtures("few_are_many")
def test_crl_that_is_large_is_left_to_this_process(look, monkeypatch):
    """It is judged by itself, so that no two of them are in memory together."""
    look.admitting.outcomes = lambda checks: seen.append(len(checks)) or {}
    seen: list[int] = []
    monkeypatch.setattr(crl_proof, "_SMALL_OCTETS", 10)
    assert look.admit().epochs
    assert (seen, len(look.tracing.steps)) == ([], 1)


@pytest.mark.usefixtures("few_are_many")
def test_documents_are_read_a_lot_at_a_time(world, ca, monkeypatch):
    """With the second of three small ones the lot is full."""
    for number in range(3):
        one = CA.create(f"CA {number}")
        world.authorities.add(one.der, AGENT)
        world.accept(one.crl(REVOKED, number=1, this_update=NOW - HOUR))
    look, lots = Look(world), []

    def outcomes(checks: Mapping[str, Callable[[], str]]) -> dict[str, str | VouchdError]:
        lots.append(len(checks))
        return {name: check() for name, check in checks.items()}

    look.admitting.outcomes = outcomes
    sizes = [epoch.base.size_bytes for epoch in world.store.epochs()]
    monkeypatch.setattr(crl_proof, "_LOT_OCTETS", max(sizes) + 1)
    assert len(look.admit().epochs) == 3
    assert (lots, look.tracing.steps) == ([2, 1], [])


def test_what_is_served_needs_no_second_look_and_what_left_it_does(look):
    """The manifest holds what was judged; what is no longer in it is judged when it comes again."""
    world, (epoch,) = look.world, look.world.store.epochs()
    lab = epoch.issuing_point.authority_id
    look.admit()
    facts = look.stored()
    look.tracing.steps.clear()
    look.admitting.serve(facts, {lab})
    look.admit()
    assert look.tracing.steps == []
    look.admitting.serve(facts, {"another CA"})
    look.admit()
    assert look.tracing.steps == [], "nothing changed of this one"
    look.admitting.serve({lab: facts[lab]._replace(epochs=())}, {lab})
    look.admit()
    assert len(look.tracing.steps) == 1
    afresh = Look(world, facts)
    afresh.admit()
    assert afresh.tracing.steps == []
    unverified = Look(world)
    unverified.admitting._read_served = lambda: Served(facts, verified=False)
    unverified.admit()
    assert len(unverified.tracing.steps) == 1
    unverified.admitting.serve(facts, frozenset())
    assert unverified.admitting.served == Served(facts, verified=True)


def test_issuing_point_that_is_retired_is_not_missed(look, ca):
    """It was taken away for good, by a word that stands with its CA; the points beside it go on."""
    world = look.world
    (lab,) = world.store.authorities()
    (part,) = world.accept(ca.crl({}, number=1, idp=partition("http://ca.test/1.crl")))
    later = Look(world, look.stored())
    world.ingesting.retire(lab, part.issuing_point.scope_id, AGENT)
    admitted = later.admit()
    assert (admitted.refusals, admitted.epochs) == ((), world.store.epochs())
    served = later.admitting.served
    assert served.epoch(part.issuing_point) == part
    assert served.epoch(replace(part.issuing_point, scope_id="f" * 64)) is None
    assert served.epoch(replace(part.issuing_point, authority_id="f" * 64)) is None


def test_what_a_new_crl_follows_is_what_is_served_under_the_sequence_of_the_store(look, ca):
    """A refused epoch is followed in number alone; where nothing is served a CRL is the first."""
    (epoch,) = look.world.store.epochs()
    (lab,) = look.world.store.authorities()
    forged = replace(epoch, sequence=9, base=replace(epoch.base, crl_number=77))
    later = Look(look.world, look.stored())
    documents = look.world.indexing
    assert later.admitting.standing(lab, epoch, documents) == epoch
    assert later.admitting.standing(lab, forged, documents) == replace(epoch, sequence=9)
    assert Look(look.world).admitting.standing(lab, forged, documents) is None


@pytest.mark.parametrize("counted", [2, 3])
def test_serial_that_is_listed_twice_may_be_counted_once_or_twice(world, ca, counted: int):
    """Earlier versions counted otherwise; any other count is no fact of the CRL."""
    crl = twice(ca)
    (epoch,) = world.accept(crl)
    look = Look(world)
    facts = [replace(epoch, base=replace(epoch.base, entry_count=count)) for count in (counted, 1, 4)]
    assert look.admit(facts[0]).refusals == ()
    for wrong in facts[1:]:
        (refusal,) = look.admit(wrong).refusals
        assert refusal.why == f"the facts tell of {wrong.base.entry_count} entries where the CRL has 3"


def twice(ca: CA) -> bytes:
    """A CRL of three entries, of which two are of one serial."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(moment(NOW - HOUR)).next_update(moment(NOW + DAY))
    builder = builder.add_extension(x509.CRLNumber(5), critical=False)
    for serial in (1, 2, 2):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(NOW - DAY))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ca.key, signing_hash(ca.key)).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("base", "delta", "over", "fits"),
    [(10, 12, 10, True), (11, 12, 10, True), (9, 12, 10, False), (12, 12, 10, False), (13, 12, 10, False)],
)
def test_delta_goes_with_a_base_from_its_own_up_to_itself(world, ca, base: int, delta: int, over: int, fits: bool):
    """RFC 5280 5.2.4: the base is at least the one that the delta names, and older than the delta."""
    (first,) = world.accept(ca.crl({1: None}, number=base, this_update=NOW - 3 * HOUR))
    crl = ca.crl({2: None}, number=delta, base=over, this_update=NOW - HOUR)
    record = Received.of(crl, "push", NOW).record()
    epoch = replace(first, delta=replace(record, entry_count=1), sequence=2)
    world.store.commit_epoch(epoch, {record.sha256: crl})
    admitted = Look(world).admit()
    assert (not admitted.refusals) is fits
    if not fits:
        assert admitted.refusals[0].why == f"delta CRL {delta} does not go with complete CRL {base}"


def test_epoch_of_an_earlier_version_that_does_not_know_of_keys_is_admitted_where_a_ca_has_one(world, ca):
    """Its scope was then that of the whole name; of a CA with two keys it could be either's."""
    crl = ca.crl(REVOKED, number=5, extensions=(ca_version(1),))
    (epoch,) = world.accept(crl)
    former = replace(
        epoch,
        issuing_point=replace(epoch.issuing_point, scope_id="complete"),
        issuer_key="",
        key_only=False,
    )
    look = Look(world)
    assert look.admit(former).refusals == ()
    assert look.admit(replace(former, key_only=True)).refusals == ()
    (refusal,) = Look(world).admit(replace(former, issuer_key=epoch.issuer_key)).refusals
    assert refusal.why == "the facts are not what the CRL says: scope, key"
    (refusal,) = (
        Look(world).admit(replace(former, issuing_point=replace(former.issuing_point, scope_id="f" * 64))).refusals
    )
    assert "scope" in refusal.why
    world.authorities.add(CA.create("Lab CA", key=shared_key("EC", 7)).der, AGENT)
    (refusal,) = Look(world).admit(former).refusals
    assert "scope, key" in refusal.why


def test_epoch_says_the_key_of_its_crl_or_none(look):
    """Another key of the CA than signed it would have it answer for certificates that it does not speak of."""
    (epoch,) = look.world.store.epochs()
    assert look.admit(replace(epoch, issuer_key="")).refusals == ()
    (refusal,) = look.admit(replace(epoch, issuer_key="0" * 40)).refusals
    assert refusal.why == "the store names another key of the CA than the CRL is signed with"


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("size_bytes", 7, "size"),
        ("this_update", 7, "thisUpdate"),
        ("next_update", 7, "nextUpdate"),
        ("next_update", None, "nextUpdate"),
        ("crl_number", 7, "CRL number"),
        ("base_crl_number", 7, "base CRL number"),
    ],
)
def test_fact_that_is_not_what_the_crl_says_is_named(look, field: str, value, name: str):
    """So that whoever looks into it knows what was changed."""
    (epoch,) = look.world.store.epochs()
    (refusal,) = look.admit(replace(epoch, base=replace(epoch.base, **{field: value}))).refusals
    assert refusal.why == f"the facts are not what the CRL says: {name}"


def test_crl_in_the_place_of_another_one_is_refused(look, monkeypatch):
    """The bytes are those that the facts name, or none of them count."""
    (epoch,) = look.world.store.epochs()
    monkeypatch.setattr(look.world.store, "document_chunks", lambda _: [b"another ", b"one"])
    (refusal,) = look.admit(epoch).refusals
    assert refusal.why == "the CRL in the store is not the one that its facts name"


@pytest.mark.parametrize(
    ("renumbered", "later", "admitted"), [(1, 1, True), (1, 0, True), (1, -1, False), (0, 0, False)]
)
def test_lower_number_is_newer_by_its_time_where_numbers_were_begun_anew(look, ca, renumbered, later, admitted: bool):
    """The CA has signed its thisUpdate, which no store can move; without that word the number decides."""
    world, (served,) = look.world, look.world.store.epochs()
    crl = ca.crl(REVOKED, number=2, this_update=served.this_update + later)
    (lab,) = world.store.authorities()
    record = replace(Received.of(crl, "file", NOW).record(), entry_count=1)
    lower = replace(served, sequence=2, base=record, renumbered=renumbered, renumbering="backup" if renumbered else "")
    world.store._documents[record.sha256] = crl  # as another member's directory server has it
    assert (not Look(world, {lab.id: AuthorityFacts(lab, (served,))}).admit(lower).refusals) is admitted
