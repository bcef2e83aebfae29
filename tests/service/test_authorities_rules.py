"""CAs: which certificates are theirs, which signer may answer for them, and what they are found by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.contract.backends import FIRST, SECOND, a_quarantined, a_record, an_epoch, sha256
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, NOW, shared_key
from tests.service.recording import ADMIN, AGENT, NOBODY, RecordingAudit
from tests.service.test_authorities import CA_TRUE, SIGNS_CRLS_ONLY, a_ca, kept_apart

from vouchd.core.facts import Authority, AuthorityPolicy, CompromisedAnswer
from vouchd.errors import ConfigError, NoFitSigner, NotFound, PermissionDenied, SigningError, UnlistedCertificates
from vouchd.service.authorities import (
    MAX_CERTIFICATE_BYTES,
    MAX_LABEL_CHARACTERS,
    MAX_SLOT_SECONDS,
    Authorities,
    Fitness,
    KnownSigners,
    NewAuthority,
    fit_signer,
    read_authorities,
    read_certificate,
    signer_doubts,
)
from vouchd.service.permission import Permission
from vouchd.service.signer_certificates import SignerCertificates

LAB = CA.create("Lab CA")
RENEWED = CA.create("Lab CA", key=shared_key("EC", 5), not_before=NOW - DAY)
OTHER = CA.create("Other CA", key=shared_key("EC", 6))
LEAF = LAB.issue("leaf")
REFERENCE = "CN=Lab CA"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def authorities(store):
    """The acts on CAs, of which the lab's is there."""
    audit = RecordingAudit()
    made = Authorities(store, Permission(audit), audit)
    made.add(LAB.der, AGENT)
    return made


# What is taken for a CA's certificate.


def test_certificate_up_to_the_limit_is_read():
    """The limit is in octets, the last of which still belongs to it."""
    der, certificate = read_certificate(LAB.der, len(LAB.der))
    assert (der, certificate) == (LAB.der, LAB.certificate)
    with pytest.raises(ConfigError):
        read_certificate(LAB.der, len(LAB.der) - 1)
    assert len(LAB.der) < MAX_CERTIFICATE_BYTES


def test_bundle_is_read_for_its_cas_and_says_what_was_left_out():
    """Among several certificates those of others are no CAs; one that is alone is judged when it is added."""
    separate = a_ca([SIGNS_CRLS_ONLY], 3, "CRL signer")
    bundle = read_authorities(LAB.pem + LEAF.pem + separate + OTHER.pem)
    names = [one.subject.rfc4514_string() for one in bundle.certificates]
    assert names == ["CN=Lab CA", "CN=CRL signer", "CN=Other CA"]
    assert bundle.notes == ("'CN=leaf' is no CA and was left out",)
    alone = read_authorities(LEAF.der)
    assert (alone.certificates, alone.notes) == ((LEAF.certificate,), ())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"junk", "not a certificate"),
        (LEAF.pem + LAB.issue("leaf 2").pem, "none of a certification authority"),
    ],
)
def test_bundle_without_a_ca_is_refused(data: bytes, why: str):
    """What holds no certificate, or none of a CA, is nothing to answer for."""
    with pytest.raises(ConfigError, match=why):
        read_authorities(data)


# Who may sign for a CA.


def test_signer_of_a_ca_is_the_named_one_or_the_default_and_has_to_be_there():
    """A name that nobody knows is an error; a certificate that is to come is none; a doubt is told with the name."""
    authority = Authority("a" * 40, LAB.der, "lab")
    fit, unfit = LAB.issue_signer().der, OTHER.issue_signer().der
    doubtful = LAB.issue_signer(nocheck=False).der
    signers = KnownSigners({"fit": fit, "unfit": unfit, "coming": None, "doubtful": doubtful}, "fit")
    assert signer_doubts(signers, authority, NOW) == ()
    for nickname, error in (("unfit", SigningError), ("nobody", ConfigError)):
        with pytest.raises(error, match=nickname):
            signer_doubts(signers, replace(authority, policy=AuthorityPolicy(signer=nickname)), NOW)
    assert signer_doubts(signers, replace(authority, policy=AuthorityPolicy(signer="coming")), NOW) == ()
    (line,) = signer_doubts(signers, replace(authority, policy=AuthorityPolicy(signer="doubtful")), NOW)
    assert line.startswith("signer doubtful: ")
    (line,) = signer_doubts(
        signers, replace(authority, policy=AuthorityPolicy(signer="unfit", trusted_responder=True)), NOW
    )
    assert line.startswith("signer unfit: ")


@pytest.mark.parametrize(
    ("default", "named", "expected"),
    [
        ("elsewhere", None, "lab"),
        ("lab", None, ""),
        ("elsewhere", "elsewhere", ""),
        ("coming", None, ""),
        ("nobody", None, "lab"),
    ],
)
def test_signer_that_a_ca_has_certified_is_taken_where_none_is_named(default: str, named: str | None, expected: str):
    """And where the default may not answer: not while that is to come, and never one that may not answer either."""
    certificates = {
        "elsewhere": OTHER.issue_signer().der,
        "coming": None,
        "expired": LAB.issue_signer("a", not_after=NOW - 1).der,
        "lab": LAB.issue_signer("b").der,
    }
    known = SignerCertificates({name: der for name, der in certificates.items() if der})
    authority = Authority("a" * 40, LAB.der, "lab", AuthorityPolicy(signer=named))
    assert fit_signer(KnownSigners(certificates, default), known, authority, NOW) == expected
    assert fit_signer(KnownSigners({}, "nobody"), SignerCertificates({}), authority, NOW) == ""
    only_expired = SignerCertificates({"expired": certificates["expired"]})
    assert fit_signer(KnownSigners(certificates, "elsewhere"), only_expired, authority, NOW) == ""


def test_ca_is_added_and_set_only_with_a_signer_that_may_answer_for_it(store):
    """Else the instance would not start again with it; what is asked about is the CA as it is going to be."""
    seen: list[Authority] = []

    def doubts(authority: Authority) -> tuple[str, ...]:
        seen.append(authority)
        if authority.policy.signer != "fit":
            raise SigningError("it was not issued by the CA")
        return ("a doubt",)

    audit = RecordingAudit()
    authorities = Authorities(store, Permission(audit), audit, lambda: Fitness(doubts))
    with pytest.raises(NoFitSigner, match="not issued by the CA"):
        authorities.add(LAB.der, AGENT)
    assert store.authorities() == ()
    added = authorities.add(LAB.der, AGENT, signer="fit", trusted_responder=True).subject
    assert (added.policy.signer, added.policy.trusted_responder) == ("fit", True)
    with pytest.raises(NoFitSigner):
        authorities.set_policy(REFERENCE, AuthorityPolicy(signer="other"), ADMIN)
    assert seen[-1].policy.signer == "other"
    assert store.authorities() == (added,)
    assert authorities.doubts(added) == ("a doubt",)
    again = authorities.add(RENEWED.der, AGENT).subject
    assert (again.policy.signer, again.policy.trusted_responder) == ("fit", True)


def test_signer_named_for_a_known_ca_is_its_signer_from_then_on(authorities, store):
    """Also with a certificate that is there already: who answers for it is told as what has changed."""
    effect = authorities.add(LAB.der, AGENT, signer="other", trusted_responder=True)
    assert effect.changes == (
        "its signer is other, and was the default one",
        "its trusted responder is True, and was none",
    )
    assert store.authorities() == (effect.subject,)


# Several CAs at once.

NEW = {
    "nothing": (),
    "of other names": (NewAuthority(OTHER.der, "other", "s1", trusted_responder=True), NewAuthority(RENEWED.pem)),
    "one that is none": (NewAuthority(b"junk"), NewAuthority(OTHER.der), NewAuthority(LEAF.der)),
    "a bad label": (NewAuthority(OTHER.der, "a\nb"), NewAuthority(RENEWED.der)),
    "of one name": (
        NewAuthority(OTHER.der),
        NewAuthority(RENEWED.der, "lab", "s1"),
        NewAuthority(CA.create("Other CA", key=shared_key("EC", 7)).der, "others", "s2", trusted_responder=True),
        NewAuthority(b"junk"),
        NewAuthority(CA.create("Other CA", key=shared_key("EC", 8)).der, "a\nb"),
        NewAuthority(CA.create("Third CA", key=shared_key("EC", 9)).der),
    ),
    "there already": (NewAuthority(LAB.der), NewAuthority(OTHER.der)),
}


@pytest.mark.parametrize("situation", NEW)
@pytest.mark.parametrize("apart", [False, True])
def test_cas_that_are_added_together_become_what_each_becomes_alone(authorities, store, situation, apart: bool):
    """Outcomes in their order, and the facts: as if one were added after the other; also where one name has several."""
    other_store, audit = MemoryStore(), RecordingAudit()
    alone = Authorities(other_store, Permission(audit), audit)
    alone.add(LAB.der, AGENT)
    if apart:  # as an earlier version kept them
        for each in (store, other_store):
            kept_apart(each, *(CA(one.certificate, one.key) for one in (LAB, RENEWED)))
    expected = []
    for new in NEW[situation]:
        try:
            expected.append(
                alone.add(
                    new.certificate,
                    AGENT,
                    label=new.label,
                    signer=new.signer,
                    trusted_responder=new.trusted_responder,
                )
            )
        except ConfigError as error:
            expected.append(error)
    outcomes = authorities.add_all(NEW[situation], AGENT)
    assert [*map(repr, outcomes)] == [*map(repr, expected)]
    assert store.authorities() == other_store.authorities()


def test_cas_of_other_names_are_not_united(authorities, store):
    """One CA is a name; the others stay as they are, and nothing is recorded of them."""
    kept_apart(store, CA.create("Other CA", key=shared_key("EC", 7), not_before=NOW - 9 * DAY), OTHER)
    before, audit = (
        store.authority(store.authorities_of(LAB.certificate.subject.public_bytes())[0].id),
        RecordingAudit(),
    )
    Authorities(store, Permission(audit), audit).unite_all(ADMIN)
    assert before in store.authorities()
    assert len(store.authorities()) == 2
    (whole,) = store.authorities_of(OTHER.certificate.subject.public_bytes())
    detail = {"ca": whole.id, "subject": "CN=Other CA", "certificates": 2}
    assert audit.records == [("OCSP_ADD_CA_REQUEST_PROCESSED", "admin", "success", detail)]


@pytest.mark.parametrize(
    ("lists", "known"), [((b"01\n", b"03\n"), True), ((b"01\n", None), False), ((None, b"03\n"), False)]
)
def test_certificate_that_unites_cas_keeps_what_all_of_them_have_issued(store, lists, known: bool):
    """Serials are known where each has a list; where one has none, none may be said to be never issued."""
    audit = RecordingAudit()
    for ca, serials in zip(kept_apart(store, LAB, RENEWED), lists, strict=True):
        if serials:
            policy = AuthorityPolicy(issued_serials=sha256(serials))
            store.put_authority(replace(ca, policy=policy), {sha256(serials): serials})
    third = CA.create("Lab CA", key=shared_key("EC", 8))
    effect = Authorities(store, Permission(audit), audit).add(third.der, AGENT)
    assert effect.changes[-1] == "2 CAs of its name were made one"
    assert len(effect.subject.certificates) == 3
    assert store.authorities() == (effect.subject,)
    serials = effect.subject.policy.issued_serials
    assert (serials and bytes(store.document(serials))) == (b"01\n03\n" if known else None)


def test_ca_that_is_alone_keeps_its_list_of_issued_serials(authorities, store):
    """Only CAs that become one have their lists joined."""
    authorities.set_issued_serials(REFERENCE, b"1\n", AGENT)
    known = store.authorities()[0].policy.issued_serials
    assert authorities.add(RENEWED.der, AGENT).subject.policy.issued_serials == known


def test_crls_of_cas_that_become_one_are_all_its_own(store):
    """Each issuing point comes along, its documents too; of one that several have the newest CRL stays."""
    audit = RecordingAudit()
    old, new = kept_apart(store, LAB, RENEWED)
    partition = replace(an_epoch(old).issuing_point, scope_id="1" * 64)
    store.commit_epoch(an_epoch(old, base=a_record(FIRST, 1, 1000)), {sha256(FIRST): FIRST})
    store.commit_epoch(
        replace(an_epoch(old, base=a_record(SECOND, 9, 9000)), issuing_point=partition), {sha256(SECOND): SECOND}
    )
    Authorities(store, Permission(audit), audit).unite_all(ADMIN)
    (whole,) = store.authorities()
    assert {(one.issuing_point.authority_id, one.issuing_point.scope_id) for one in store.epochs()} == {
        (whole.id, "complete"),
        (whole.id, "1" * 64),
    }
    assert [
        bytes(store.document(one.base.sha256)) for one in sorted(store.epochs(), key=lambda one: one.this_update)
    ] == [
        FIRST,
        SECOND,
    ]
    assert whole.id == new.id


# What is said of a CA, and what it is found by.


def test_ca_is_found_by_label_subject_or_the_beginning_of_an_id_of_any_certificate(authorities, store):
    """Eight digits of an id at least, in either case; what names several, or none, is told apart."""
    authorities.add(RENEWED.der, AGENT, label="lab")
    authorities.add(OTHER.der, AGENT, label="other")
    lab, other = (authorities.find(name) for name in ("lab", "other"))
    renewed_id = Authorities(MemoryStore(), Permission(RecordingAudit()), RecordingAudit()).add(RENEWED.der, AGENT)
    for reference in (lab.id, lab.id[:8], lab.id[:8].upper(), renewed_id.subject.id[:12], REFERENCE):
        assert authorities.find(reference) == lab
    for reference in (lab.id[:7], lab.id[1:9], "", "Lab CA"):
        with pytest.raises(NotFound, match="no CA is named"):
            authorities.find(reference)
    store.put_authority(replace(other, label="lab"))
    with pytest.raises(NotFound, match="2 CAs are named 'lab'") as refused:
        authorities.find("lab")
    assert {one.id[:16] for one in (lab, other)} == set(refused.value.hint.rpartition(": ")[2].split(", "))


def test_list_of_cas_is_for_who_may_see_it(authorities, store):
    """All of them, one with its points, or one by its id: each needs the right, and says what is not there."""
    (lab,) = store.authorities()
    store.commit_epoch(an_epoch(lab), {sha256(FIRST): FIRST})
    assert authorities.every(AGENT) == (lab,)
    (listed,) = authorities.summaries(AGENT)
    assert authorities.summary_by_id(lab.id, AGENT) == authorities.summary(lab) == listed
    assert listed.epochs == store.epochs()
    store.put_quarantined(a_quarantined(lab, SECOND), SECOND)
    assert authorities.summary(lab).quarantined == store.quarantined() != ()
    with pytest.raises(NotFound):
        authorities.summary_by_id("0" * 40, AGENT)
    for look in (authorities.every, authorities.summaries, lambda who: authorities.summary_by_id(lab.id, who)):
        with pytest.raises(PermissionDenied):
            look(NOBODY)


def test_acts_over_another_view_of_the_store_are_the_same(authorities, store):
    """Right, log and rule of signers come along; the facts are the view's."""
    view = MemoryStore()
    over = authorities.over(view)
    over.add(OTHER.der, AGENT)
    assert [one.certificate_der for one in view.authorities()] == [OTHER.der]
    assert [one.certificate_der for one in store.authorities()] == [LAB.der]
    with pytest.raises(PermissionDenied):
        over.add(OTHER.der, NOBODY)


@pytest.mark.parametrize("since", [1, NOW - 1, NOW])
def test_ca_is_declared_compromised_since_a_moment_that_has_come(authorities, store, since: int):
    """What is answered from then on is kept with the CA; None takes it back, and the same again changes nothing."""
    answer = CompromisedAnswer.TRY_LATER
    declared = authorities.declare_compromised(REFERENCE, since, answer, AGENT, at=NOW)
    assert (declared.policy.compromised_at, declared.policy.compromised_answer) == (since, answer)
    assert store.authorities() == (declared,)
    revision = store.revision()
    authorities.declare_compromised(REFERENCE, since, answer, AGENT, at=NOW)
    assert store.revision() == revision
    authorities.declare_compromised(REFERENCE, None, answer, AGENT, at=NOW)
    assert store.authorities()[0].policy.compromised_at is None


@pytest.mark.parametrize("since", [0, -1, NOW + 1])
def test_ca_is_not_declared_compromised_since_a_moment_that_is_none(authorities, store, since: int):
    """Neither in the future, where all would be good until then, nor at no time."""
    with pytest.raises(ConfigError):
        authorities.declare_compromised(REFERENCE, since, CompromisedAnswer.REVOKED, AGENT, at=NOW)
    assert store.authorities()[0].policy == AuthorityPolicy()


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("quarantine_percent", 0.1, 100),
        ("archive_cutoff_seconds", 0, 10**9),
        ("slot_seconds", 1, MAX_SLOT_SECONDS),
        ("quarantine_entries", 0, 10**9),
    ],
)
def test_value_of_a_policy_is_taken_up_to_both_ends(authorities, field: str, least: float, most: float):
    """Both ends make sense; below the lower one, and above one that there is, nothing does."""
    for value in (least, most):
        assert (
            getattr(authorities.set_policy(REFERENCE, AuthorityPolicy(**{field: value}), ADMIN).policy, field) == value
        )
    beyond = [least - 1 if least >= 1 or field != "quarantine_percent" else 0]
    beyond += [most + 1] if most < 10**9 else []
    for value in beyond:
        with pytest.raises(ConfigError, match=f"{field}"):
            authorities.set_policy(REFERENCE, AuthorityPolicy(**{field: value}), ADMIN)


def test_label_is_taken_up_to_its_length_and_without_what_stands_around_it(authorities):
    """200 characters are one; blanks around it are none of it; a subject that is longer is cut."""
    longest = "x" * MAX_LABEL_CHARACTERS
    assert authorities.add(OTHER.der, AGENT, label="x").subject.label == "x"
    assert authorities.add(LAB.der, AGENT, label=f" {longest} ").subject.label == longest
    units = [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, letter * 60) for letter in "abcd"]
    wordy = CA.create("Wordy", key=shared_key("EC", 7))
    named = x509.Name([*units, x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    builder = x509.CertificateBuilder(
        named,
        named,
        wordy.key.public_key(),
        7,
        wordy.certificate.not_valid_before_utc,
        wordy.certificate.not_valid_after_utc,
    ).add_extension(CA_TRUE, critical=True)
    made = builder.sign(wordy.key, wordy.certificate.signature_hash_algorithm)
    label = authorities.add(made.public_bytes(Encoding.DER), AGENT).subject.label
    assert label == named.rfc4514_string()[:MAX_LABEL_CHARACTERS]


# The serials that a CA has issued.


def test_issued_serials_are_read_in_the_radix_that_is_given(authorities, store):
    """Ten unless another one is named."""
    assert (
        bytes(store.document(authorities.set_issued_serials(REFERENCE, b"16\n", AGENT).policy.issued_serials))
        == b"10\n"
    )
    for radix, expected in (({"radix": 10}, b"10\n"), ({"radix": 16}, b"16\n")):
        changed = authorities.set_issued_serials(REFERENCE, b"16\n", AGENT, **radix)
        assert bytes(store.document(changed.policy.issued_serials)) == expected


def test_list_that_lacks_a_certificate_of_the_set_is_refused_by_name(authorities, store):
    """It would be refused from then on; what another CA has issued need not be in it, and a part of a line is none."""
    ours = LAB.issue("ours", serial=0x1234)
    foreign = OTHER.issue("foreign", serial=0x99)
    certificates = {"server": ours.der, "elsewhere": foreign.der}
    for data in (b"0x12\n", b"0x123456\n", b"0xab1234\n"):
        with pytest.raises(UnlistedCertificates, match=r"refused from then on: server \(0x1234\)$"):
            authorities.set_issued_serials(REFERENCE, data, AGENT, ours=certificates)
    assert store.authorities()[0].policy.issued_serials is None
    for data in (b"0x1234\n", b"0x01\n0x1234\n", b"0x1234\n0xff\n"):
        assert authorities.set_issued_serials(REFERENCE, data, AGENT, ours=certificates).policy.issued_serials
    two = {"one": ours.der, "two": LAB.issue("two", serial=0x77).der}
    with pytest.raises(UnlistedCertificates, match=r"one \(0x1234\), two \(0x77\)"):
        authorities.set_issued_serials(REFERENCE, b"1\n", AGENT, ours=two)
