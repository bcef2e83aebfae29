"""Adding, listing, removing CAs and setting how they are answered for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.contract.backends import FIRST, SECOND, a_quarantined, a_record, an_epoch, sha256
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, NOW, moment, name, shared_key, signing_hash
from tests.service.recording import ADMIN, AGENT, NOBODY, PUBLISHER, FullAudit, RecordingAudit

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.errors import ConfigError, NotFound, PermissionDenied, StoreUnavailable
from vouchd.pkix.certs import authority_id
from vouchd.service.authorities import Authorities, Fitness, KnownSigners, NewAuthority, fit_signer, signer_doubts
from vouchd.service.permission import Permission
from vouchd.service.signer_certificates import SignerCertificates


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def audit():
    return RecordingAudit()


@pytest.fixture
def authorities(store, audit):
    return Authorities(store, Permission(audit), audit)


@pytest.fixture
def ca():
    return CA.create("Lab CA")


def a_ca(extensions, number: int = 0, common_name: str = "Odd CA") -> bytes:
    """PEM of a self-signed certificate with just these extensions."""
    key = shared_key("EC", number)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(name(common_name))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(moment(NOW - 1000))
        .not_valid_after(moment(NOW + 1000))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, signing_hash(key)).public_bytes(Encoding.PEM)


CA_TRUE = x509.BasicConstraints(ca=True, path_length=None)
THIRD = b"third CRL"
SIGNS_CRLS_ONLY = x509.KeyUsage(False, False, False, False, False, False, True, False, False)


@pytest.mark.parametrize("form", ["der", "pem"])
def test_add_certificate_in_either_form_is_registered_under_its_subject(authorities, store, audit, ca, form):
    """DER and PEM are taken; the label is the subject unless one is given; the act is recorded."""
    added = authorities.add(getattr(ca, form), AGENT).subject
    assert store.authorities() == (added,)
    assert (added.label, added.certificate_der, added.policy) == ("CN=Lab CA", ca.der, AuthorityPolicy())
    acts = ["AUTHZ", "OCSP_ADD_CA_REQUEST", "OCSP_ADD_CA_REQUEST_PROCESSED"]
    assert audit.events == [(event, "success") for event in acts]


def test_add_again_changes_nothing(authorities, store, ca):
    """Adding a CA twice is no error, and keeps what was set."""
    authorities.add(ca.der, AGENT, label="lab")
    authorities.set_policy("lab", AuthorityPolicy(crl_reference=True), ADMIN)
    before = store.revision(), store.authorities()
    authorities.add(ca.pem, AGENT)
    assert (store.revision(), store.authorities()) == before


def test_add_renewed_certificate_goes_into_the_history(authorities, store):
    """A certificate of the same name is the same CA, with its epochs; the newest certificate stands for it."""
    old, new = CA.create("Lab CA"), CA.create("Lab CA", not_before=NOW - DAY)
    authority = authorities.add(old.der, AGENT).subject
    store.commit_epoch(an_epoch(authority), {sha256(FIRST): FIRST})
    authorities.add(new.der, AGENT)
    assert [known.certificates for known in store.authorities()] == [(new.der, old.der)]
    assert len(store.epochs()) == 1


@pytest.mark.parametrize("spelling", ["Lab CA", "  lab  ca "])
def test_add_same_name_other_key_is_the_same_ca(authorities, store, spelling):
    """A CA is its name (RFC 5280 7.1) with a history of keys: label, policy and id stay."""
    first = authorities.add(CA.create("Lab CA", key=shared_key("EC", 5)).der, AGENT, label="lab").subject
    authorities.set_policy("lab", AuthorityPolicy(crl_reference=True), ADMIN)
    second = authorities.add(CA.create(spelling, key=shared_key("EC", 6), not_before=NOW - DAY).der, AGENT).subject
    assert store.authorities() == (second,)
    assert (second.id, second.label, second.policy.crl_reference) == (first.id, "lab", True)
    assert second.history == (first.certificate_der,)


def test_add_certificate_for_a_separate_crl_key_only_to_a_known_ca(authorities):
    """RFC 5280 4.2.1.3: a CA may have a key for CRLs alone; by itself such a certificate is no CA."""
    separate = a_ca([SIGNS_CRLS_ONLY])
    with pytest.raises(ConfigError):
        authorities.add(separate, AGENT)
    known = authorities.add(a_ca([CA_TRUE]), AGENT).subject
    both = authorities.add(separate, AGENT).subject
    assert both.certificate_der == known.certificate_der
    assert len(both.history) == 1


def test_remove_certificate_leaves_the_others(authorities, store, audit):
    """What was added to the history can be taken out of it, but for the last certificate of the CA."""
    old, new = CA.create("Lab CA", key=shared_key("EC", 5)), CA.create("Lab CA", key=shared_key("EC", 6))
    for one in (old, new):
        authorities.add(one.der, AGENT)
    authorities.remove_certificate("CN=Lab CA", sha256(old.der), AGENT)
    assert [known.certificates for known in store.authorities()] == [(new.der,)]
    assert audit.records[-1][3]["certificate"] == sha256(old.der)
    with pytest.raises(ConfigError, match="only one"):
        authorities.remove_certificate("CN=Lab CA", sha256(new.der), AGENT)
    with pytest.raises(NotFound):
        authorities.remove_certificate("CN=Lab CA", sha256(old.der), AGENT)


def kept_apart(store, *cas: CA) -> tuple[Authority, ...]:
    """The CAs as earlier versions stored them: one for each key."""
    made = tuple(Authority(authority_id(ca.certificate), ca.der, f"lab {n}") for n, ca in enumerate(cas))
    for one in made:
        store.put_authority(one)
    return made


def test_unite_all_makes_one_ca_of_those_of_one_name(authorities, store):
    """Facts of an earlier version: one authority a key; the newest CRL of each scope stays, and what is held back."""
    old, new = (
        CA.create("Lab CA", key=shared_key("EC", 5)),
        CA.create("Lab CA", key=shared_key("EC", 6), not_before=NOW),
    )
    first, second = kept_apart(store, old, new)
    store.commit_epoch(an_epoch(first, base=a_record(FIRST, 1, 1000)), {sha256(FIRST): FIRST})
    store.commit_epoch(an_epoch(second, base=a_record(SECOND, 2, 2000)), {sha256(SECOND): SECOND})
    store.put_quarantined(a_quarantined(first, THIRD), THIRD)
    authorities.unite_all(ADMIN)
    (whole,) = store.authorities()
    assert (whole.id, whole.label, whole.certificates) == (second.id, "lab 1", (new.der, old.der))
    assert [epoch.base.sha256 for epoch in store.epochs()] == [sha256(SECOND)]
    assert [crl.issuing_point.authority_id for crl in store.quarantined()] == [second.id]
    before = store.revision()
    authorities.unite_all(ADMIN)
    assert store.revision() == before


def test_unite_all_takes_the_newer_crl_of_the_older_key(authorities, store):
    """Whose authority it was stored with says nothing of a CRL: the newest of the name is the name's."""
    old, new = (
        CA.create("Lab CA", key=shared_key("EC", 5)),
        CA.create("Lab CA", key=shared_key("EC", 6), not_before=NOW),
    )
    first, second = kept_apart(store, old, new)
    store.commit_epoch(an_epoch(first, base=a_record(FIRST, 3, 3000)), {sha256(FIRST): FIRST})
    store.commit_epoch(an_epoch(second, base=a_record(SECOND, 2, 2000)), {sha256(SECOND): SECOND})
    authorities.unite_all(ADMIN)
    (epoch,) = store.epochs()
    assert (epoch.issuing_point.authority_id, epoch.base.sha256, epoch.sequence) == (second.id, sha256(FIRST), 2)
    assert store.high_water(epoch.issuing_point) == (3, 3000)


@pytest.mark.parametrize("lists", [(b"01\n02\n", b"03\n"), (b"01\n", None)])
def test_unite_all_issued_serials_are_known_only_where_each_list_is(authorities, store, lists):
    """A serial that one of the two issued must not become one that was never issued."""
    cas = CA.create("Lab CA", key=shared_key("EC", 5)), CA.create("Lab CA", key=shared_key("EC", 6), not_before=NOW)
    for ca, serials in zip(kept_apart(store, *cas), lists, strict=True):
        if serials:
            policy = AuthorityPolicy(issued_serials=sha256(serials))
            store.put_authority(replace(ca, policy=policy), {sha256(serials): serials})
    authorities.unite_all(ADMIN)
    (whole,) = store.authorities()
    if None in lists:
        assert whole.policy.issued_serials is None
    else:
        assert store.document(whole.policy.issued_serials) == b"01\n02\n03\n"


@pytest.mark.parametrize(
    "certificate",
    [
        a_ca([]),
        a_ca([x509.BasicConstraints(ca=False, path_length=None)]),
        a_ca([CA_TRUE, SIGNS_CRLS_ONLY]),
        b"",
        b"garbage",
        b"\x30\x03\x02\x01\x05",
        CA.create().crl(),
        CA.create().pem + CA.create("Other").pem,
        bytes(2 << 20),
    ],
)
def test_add_anything_but_one_ca_certificate_refused_with_hint(authorities, store, certificate):
    """A leaf, a CRL signer, two certificates, garbage: refused, nothing stored, and the operator is told what to do."""
    with pytest.raises(ConfigError) as caught:
        authorities.add(certificate, AGENT)
    assert caught.value.hint or "bytes" in str(caught.value)
    assert store.authorities() == ()


def test_add_without_key_usage_is_taken(authorities):
    """RFC 5280 asks keyCertSign only of a certificate that has keyUsage."""
    assert authorities.add(a_ca([CA_TRUE]), AGENT).subject.label == "CN=Odd CA"


@pytest.mark.parametrize("label", [" ", "x" * 201, "a\nb", "\x1b[31m"])
def test_add_label_that_would_spoil_a_list_refused(authorities, ca, label):
    """A label is printable and not endless."""
    with pytest.raises(ConfigError, match="label"):
        authorities.add(ca.der, AGENT, label=label)


@pytest.mark.parametrize("caller", [NOBODY, PUBLISHER, ADMIN])
def test_changes_by_others_than_agents_refused(authorities, store, ca, caller):
    """Only agents add and remove CAs."""
    with pytest.raises(PermissionDenied):
        authorities.add(ca.der, caller)
    with pytest.raises(PermissionDenied):
        authorities.remove("CN=Lab CA", caller)
    assert store.revision() == 0


def test_add_audit_unavailable_nothing_added(store, ca):
    """No record, no act."""
    with pytest.raises(StoreUnavailable):
        Authorities(store, Permission(FullAudit()), FullAudit()).add(ca.der, AGENT)
    assert store.authorities() == ()


def test_summaries_tell_each_ca_with_its_own_points(authorities, store, ca):
    """A list shows subject, epochs and CRLs held back of each CA, and no other's."""
    other = authorities.add(CA.create("Another CA", key=shared_key("EC", 5)).der, AGENT).subject
    authority = authorities.add(ca.der, AGENT).subject
    store.commit_epoch(an_epoch(authority), {sha256(FIRST): FIRST})
    store.put_quarantined(a_quarantined(authority, b"held"), b"held")
    first, second = authorities.summaries(AGENT)
    assert (first.authority, first.epochs, first.quarantined, first.entry_count) == (other, (), (), 0)
    assert (second.subject, second.epochs, second.entry_count) == ("CN=Lab CA", (an_epoch(authority),), 3)
    assert second.quarantined == (a_quarantined(authority, b"held"),)
    assert second.not_after == NOW + 3650 * 86400


def test_remove_by_label_forgets_the_ca(authorities, store, audit, ca):
    """A CA is removed by whatever names it; the act is recorded."""
    authorities.add(ca.der, AGENT, label="lab")
    authorities.remove("lab", AGENT)
    assert store.authorities() == ()
    acts = ["AUTHZ", "OCSP_REMOVE_CA_REQUEST", "OCSP_REMOVE_CA_REQUEST_PROCESSED"]
    assert audit.events[-3:] == [(event, "success") for event in acts]


def test_request_that_comes_to_nothing_is_recorded_with_why(authorities, audit, ca):
    """Adding what is no CA, and removing what is not there: the request stands in the log, and its failure."""
    with pytest.raises(ConfigError):
        authorities.add(ca.issue("leaf").der, AGENT)
    with pytest.raises(NotFound):
        authorities.remove("nobody", AGENT)
    failed = [(event, detail["why"]) for event, _, outcome, detail in audit.records if outcome == "failure"]
    assert [event for event, _ in failed] == ["OCSP_ADD_CA_REQUEST_PROCESSED", "OCSP_REMOVE_CA_REQUEST_PROCESSED"]
    assert "is not a certification authority" in failed[0][1]
    assert "no CA is named 'nobody'" in failed[1][1]


@pytest.mark.parametrize("act", ["add", "remove"])
def test_request_without_the_right_is_no_request(authorities, audit, ca, act):
    """Who may not is refused by AUTHZ; nothing is processed."""
    argument = {"add": ca.der, "remove": "lab"}[act]
    with pytest.raises(PermissionDenied):
        getattr(authorities, act)(argument, NOBODY)
    assert audit.events == [("AUTHZ", "failure")]


def test_remove_unknown_not_found_with_hint(authorities):
    """A name that is nobody's is NotFound and the hint says where the names are."""
    with pytest.raises(NotFound) as caught:
        authorities.remove("nobody", AGENT)
    assert "authority list" in caught.value.hint


def test_set_policy_replaces_and_is_recorded(authorities, store, audit, ca):
    """A policy is set as given."""
    authorities.add(ca.der, AGENT, label="lab")
    policy = AuthorityPolicy(expected_scopes=("complete", "ab" * 32), quarantine_percent=5, crl_issuers=(ca.der,))
    assert authorities.set_policy("lab", policy, ADMIN).policy == policy == store.authorities()[0].policy
    assert audit.events[-1] == ("CONFIG_OCSP_PROFILE", "success")


@pytest.mark.parametrize(
    "field",
    [
        {"quarantine_percent": 0},
        {"quarantine_percent": 101},
        {"archive_cutoff_seconds": -1},
        {"expected_scopes": ("CN=x",)},
        {"crl_issuers": (b"\x30\x00",)},
    ],
)
def test_set_policy_senseless_value_refused(authorities, store, ca, field):
    """A value that cannot mean anything is refused and the policy stays."""
    authorities.add(ca.der, AGENT, label="lab")
    with pytest.raises(ConfigError):
        authorities.set_policy("lab", AuthorityPolicy(**field), ADMIN)
    assert store.authorities()[0].policy == AuthorityPolicy()


def test_set_policy_by_agent_refused(authorities, ca):
    """To change configuration is for administrators."""
    authorities.add(ca.der, AGENT, label="lab")
    with pytest.raises(PermissionDenied):
        authorities.set_policy("lab", AuthorityPolicy(), AGENT)


def test_set_issued_serials_is_stored_as_document_and_taken_away(authorities, store, ca):
    """The list becomes a document that the policy names; None ends both."""
    authorities.add(ca.der, AGENT, label="lab")
    changed = authorities.set_issued_serials("lab", b"1\n255\n", AGENT)
    document = b"00ff\n01\n"
    assert changed.policy == replace(AuthorityPolicy(), issued_serials=sha256(document))
    assert store.document(sha256(document)) == document
    assert authorities.set_issued_serials("lab", None, AGENT).policy == AuthorityPolicy()
    with pytest.raises(NotFound):
        store.document(sha256(document))


def test_set_issued_serials_unreadable_list_refused(authorities, store, ca):
    """A list with a bad line changes nothing."""
    authorities.add(ca.der, AGENT, label="lab")
    with pytest.raises(ConfigError, match="line 1"):
        authorities.set_issued_serials("lab", b"xyz", AGENT)
    assert store.authorities()[0].policy.issued_serials is None


def test_signer_that_a_ca_has_certified_is_taken_where_the_default_may_not_answer(store, audit):
    """Of many signers each CA gets the one that it has certified; what is named, or the default where it may, stays."""
    cas = [CA.create(f"Bulk {number}") for number in range(3)]
    certificates = {f"s{number}": ca.issue_signer().der for number, ca in enumerate(cas)}
    signers, known = KnownSigners(certificates, "s0"), SignerCertificates(certificates)

    def fitness() -> Fitness:
        return Fitness(
            lambda authority: signer_doubts(signers, authority, NOW),
            lambda authority: fit_signer(signers, known, authority, NOW),
        )

    authorities = Authorities(store, Permission(audit), audit, fitness)
    outcomes = authorities.add_all([NewAuthority(ca.der) for ca in (*cas, CA.create("Stranger"))], AGENT)
    assert [one.subject.policy.signer for one in outcomes[:3]] == [None, "s1", "s2"]
    assert isinstance(outcomes[3], ConfigError)
    assert len(store.authorities()) == 3
    again = authorities.add_all([NewAuthority(ca.der) for ca in cas], AGENT)
    assert [one.changes for one in again] == [()] * 3
