"""Answering: RFC 6960 sections 2.2, 2.3 and 4.2, checked by reading the answers with another implementation."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.pkix.test_ocsp import cert_id, extension, nonce, request
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.core import status
from vouchd.core.facts import CertStatus, CompromisedAnswer, ExpiredCRLPolicy
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, UnknownIssuerPolicy
from vouchd.core.status import ServingState
from vouchd.errors import OCSPResponseStatus
from vouchd.pkix import der
from vouchd.pkix.certs import authority_id, issuer_hashes
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import Scope
from vouchd.pkix.signatures import ALGORITHMS, digest_identifier, verify

ONE = CA.create("CA one")
TWO = CA.create("CA two", key=shared_key("EC", 2))
SIGNER = ONE.issue_signer()
GOOD, REVOKED, HELD = 1001, 1002, 1003
ENTRIES = (entry(REVOKED), entry(HELD, Reason.CERTIFICATE_HOLD, invalidity_date=NOW - 2 * DAY))


def usual(**policy):
    """A responder for CA one with one complete CRL."""
    return responder(state(serving(ONE, point(ONE, *ENTRIES))), signer(SIGNER), **policy)


def read(answer) -> ocsp.OCSPResponse:
    """The answer, which must be successful, as cryptography reads it."""
    assert answer.status is OCSPResponseStatus.SUCCESSFUL, answer.cause
    return ocsp.load_der_ocsp_response(answer.response_der)


def statuses(answer) -> list[str]:
    """The status of each SingleResponse."""
    return [single.certificate_status.name.lower() for single in read(answer).responses]


def verify_signature(answer, certificate) -> None:
    """Verify the answer's signature over ResponseData."""
    response = read(answer)
    outer = answer.response_der
    basic = outer[outer.index(response.tbs_response_bytes) :]
    identifier = der.read_tlv(basic, len(response.tbs_response_bytes), len(basic))
    verify(certificate.public_key(), der.element(basic, identifier), response.signature, response.tbs_response_bytes)


def test_good_revoked_and_held_tell_the_facts_of_the_crl():
    """thisUpdate, nextUpdate, revocation time and reason are the CRL's; producedAt is the moment of acceptance."""
    answers = {number: read(usual().answer(request_for(ONE, number), NOW)) for number in (GOOD, REVOKED, HELD)}
    assert answers[GOOD].certificate_status is ocsp.OCSPCertStatus.GOOD
    assert answers[REVOKED].revocation_reason is x509.ReasonFlags.key_compromise
    assert int(answers[REVOKED].revocation_time_utc.timestamp()) == NOW - DAY
    assert answers[HELD].revocation_reason is x509.ReasonFlags.certificate_hold
    for answer in answers.values():
        assert int(answer.this_update_utc.timestamp()) == NOW - HOUR
        assert int(answer.next_update_utc.timestamp()) == NOW + DAY
        assert int(answer.produced_at_utc.timestamp()) == NOW - HOUR + 60


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_cert_id_is_echoed_byte_for_byte_whatever_its_digest(digest: str):
    """Any supported digest finds the issuer, with or without NULL parameters, and the CertID comes back as sent."""
    name, key = issuer_hashes(ONE.certificate, digest)
    for null in (True, False):
        sent = der.tlv(
            der.SEQUENCE,
            digest_identifier(digest, null=null),
            der.tlv(der.OCTET_STRING, name),
            der.tlv(der.OCTET_STRING, key),
            der.tlv(der.INTEGER, serial_octets(REVOKED)),
        )
        answer = usual().answer(request(sent), NOW)
        assert statuses(answer) == ["revoked"]
        assert sent in answer.response_der


@pytest.mark.parametrize("broken", ["name", "key"])
def test_issuer_is_matched_by_name_hash_and_key_hash(broken: str):
    """A CertID that has one of the two hashes of ours is of another CA: unauthorized, also when asked again."""
    name, key = issuer_hashes(ONE.certificate, "SHA-1")
    hashes_sent = {"name": name, "key": key} | {broken: b"x" * 20}
    parts = [der.tlv(der.OCTET_STRING, hashes_sent[part]) for part in ("name", "key")]
    sent = der.tlv(der.SEQUENCE, digest_identifier("SHA-1"), *parts, der.tlv(der.INTEGER, b"\x05"))
    ours = usual()
    for _ in range(2):
        assert ours.answer(request(sent), NOW).status is OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if not name.startswith("SHA512withEC")])
def test_every_algorithm_signs_and_where_it_can_two_instances_sign_alike(name: str):
    """Independent instances with one CRL, key and settings answer byte for byte alike, but for randomised algorithms."""
    kind = {"RSA": "RSA", "EC": "P-384" if "384" in name else "EC"}.get(ALGORITHMS[name].key_type, name)
    delegated = ONE.issue_signer(kind=kind)

    def instance():
        return responder(state(serving(ONE, point(ONE, *ENTRIES))), signer(delegated, algorithm=name))

    sent = request_for(ONE, REVOKED)
    first, second = instance().answer(sent, NOW), instance().answer(sent, NOW + HOUR)
    verify_signature(first, delegated.certificate)
    verify_signature(second, delegated.certificate)
    assert read(first).tbs_response_bytes == read(second).tbs_response_bytes
    if "PSS" not in name and "ML-DSA" not in name:
        assert first.response_der == second.response_der


def test_responder_id_is_by_key_or_by_name():
    """By key it is the SHA-1 of the key bits, not of the whole SubjectPublicKeyInfo; by name the subject."""
    by_key = read(usual().answer(request_for(ONE, GOOD), NOW))
    by_name = read(usual(by_name=True).answer(request_for(ONE, GOOD), NOW))
    assert by_key.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(SIGNER.key.public_key()).digest
    assert by_name.responder_name == SIGNER.certificate.subject


def test_certs_hold_the_delegated_signer_but_not_the_ca_itself():
    """A delegated signer's certificate is sent along; a CA that signs itself is known to the client."""
    delegated = read(usual().answer(request_for(ONE, GOOD), NOW))
    own = responder(state(serving(ONE, point(ONE))), signer(ONE)).answer(request_for(ONE, GOOD), NOW)
    assert delegated.certificates == [SIGNER.certificate]
    assert read(own).certificates == []
    verify_signature(own, ONE.certificate)


def test_certs_hold_the_chain_without_its_root_unless_that_is_set():
    """Clients go by a root of their own: it stays away, and what is between stays; the same bytes on every member."""
    root = CA.create("Root", key=shared_key("EC", 7))
    constraints = ((x509.BasicConstraints(ca=True, path_length=None), True),)
    between = root.issue("Between", key=shared_key("EC", 8), extensions=constraints)

    def sent_along(chain, **policy):
        ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER, chain=chain), **policy)
        return read(ours.answer(request_for(ONE, GOOD), NOW)).certificates

    whole = [SIGNER.certificate, between.certificate]
    assert sent_along((between, root)) == whole == sent_along((between,))
    assert sent_along((between, root), send_root=True) == [*whole, root.certificate]


@pytest.mark.parametrize("size", [1, 32, 100, 128])
def test_nonce_is_echoed_and_the_rest_stays_the_same(size: int):
    """RFC 9654: the nonce comes back; only nonce and signature depend on it, first asked or not."""
    ours = usual()
    answers = [ours.answer(request_for(ONE, REVOKED, nonce=fill * size), NOW) for fill in (b"a", b"b", b"a")]
    nonces = [read(a).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce for a in answers]
    assert nonces == [b"a" * size, b"b" * size, b"a" * size]
    assert answers[0].response_der == answers[2].response_der
    assert not answers[0].terms.cacheable
    verify_signature(answers[1], SIGNER.certificate)


def test_nonce_that_holds_a_nonce_extension_is_only_octets():
    """What is kept for requests alike but for the nonce is never found by octets inside a nonce."""
    ours = usual()
    inner = nonce(b"x" * 8)
    for octets in (inner, b"y" * len(inner), inner + b"z" * 4):
        echoed = read(ours.answer(request_for(ONE, GOOD, nonce=octets), NOW))
        assert echoed.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == octets


def test_nonce_followed_by_junk_is_malformed_even_after_the_same_request_was_answered():
    """Bytes after the DER are malformed whether or not the request before them is known."""
    ours = usual()
    sent = request_for(ONE, GOOD, nonce=b"n" * 16)
    assert statuses(ours.answer(sent, NOW)) == ["good"]
    assert ours.answer(sent + b"\x00", NOW).status is OCSPResponseStatus.MALFORMED_REQUEST
    assert ours.answer(sent[:-1], NOW).status is OCSPResponseStatus.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("policy", "with_nonce", "without"),
    [
        (NoncePolicy.ECHO, "echoed", "none"),
        (NoncePolicy.IGNORE, "none", "none"),
        (NoncePolicy.FORBID, OCSPResponseStatus.UNAUTHORIZED, "none"),
        (NoncePolicy.REQUIRE, "echoed", OCSPResponseStatus.MALFORMED_REQUEST),
    ],
)
def test_nonce_policy_decides(policy, with_nonce, without):
    """echo | ignore | forbid | require, each as named, and the same when asked twice."""
    ours = usual(nonce=policy)
    for sent, expected in ((request_for(ONE, GOOD, nonce=b"n" * 16), with_nonce), (request_for(ONE, GOOD), without)):
        for _ in range(2):
            answer = ours.answer(sent, NOW)
            if isinstance(expected, OCSPResponseStatus):
                assert answer.status is expected
            else:
                assert (len(read(answer).extensions) == 1) is (expected == "echoed")


def test_several_cert_ids_are_answered_in_their_order():
    """One SingleResponse for each CertID, in order, under one signature."""
    name, key = issuer_hashes(ONE.certificate, "SHA-1")
    parts = (digest_identifier("SHA-1"), der.tlv(der.OCTET_STRING, name), der.tlv(der.OCTET_STRING, key))
    numbers = (REVOKED, GOOD, HELD, REVOKED)
    sent = [der.tlv(der.SEQUENCE, *parts, der.tlv(der.INTEGER, serial_octets(number))) for number in numbers]
    answer = usual().answer(request(*sent), NOW)
    assert answer.cert_statuses == (CertStatus.REVOKED, CertStatus.GOOD, CertStatus.REVOKED, CertStatus.REVOKED)
    assert [single.serial_number for single in read(answer).responses] == list(numbers)
    verify_signature(answer, SIGNER.certificate)


def test_unknown_issuer_is_unauthorized_or_a_signed_unknown():
    """An issuer that is not ours: unauthorized by default, a signed and uncacheable unknown by policy."""
    assert usual().answer(request_for(TWO, GOOD), NOW).status is OCSPResponseStatus.UNAUTHORIZED
    answer = usual(unknown_issuer=UnknownIssuerPolicy.UNKNOWN).answer(request_for(TWO, GOOD), NOW)
    assert statuses(answer) == ["unknown"]
    assert not answer.terms.cacheable


def test_unknown_of_a_foreign_issuer_is_as_new_as_the_newest_acceptance():
    """Members agree on it, and a CA that has no CRL yet adds nothing."""
    foreign = request_for(CA.create("Foreign CA", key=shared_key(number=7)), GOOD)
    for others in ((), (serving(TWO),), (serving(TWO, point(TWO, accepted_at=NOW - 2 * HOUR)),)):
        served = state(*others, serving(ONE, point(ONE)))
        ours = responder(served, signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
        assert ours.answer(foreign, NOW).terms.this_update == NOW - HOUR + 60


def test_rejected_and_unsupported_digests_match_no_issuer():
    """ocsp.rejectAlgorithms takes a digest out; one that is not supported is answered the same way."""
    sha1 = usual(reject_algorithms=frozenset({"SHA-1"})).answer(request_for(ONE, GOOD), NOW)
    md5 = usual().answer(request(cert_id(algorithm=der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.2.5")))), NOW)
    assert {sha1.status, md5.status} == {OCSPResponseStatus.UNAUTHORIZED}


def test_ca_without_crl_is_answered_try_later():
    """No CRL yet: tryLater, never good."""
    answer = responder(state(serving(ONE)), signer(SIGNER)).answer(request_for(ONE, GOOD), NOW)
    assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "no_crl")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(ExpiredCRLPolicy.TRY_LATER, None), (ExpiredCRLPolicy.UNKNOWN, "unknown"), (ExpiredCRLPolicy.SERVE, "good")],
)
def test_expired_crl_is_answered_by_policy_also_for_a_known_request(policy, expected):
    """Once nextUpdate has passed the policy decides, although the same request was answered good before."""
    ours = usual(expired_crl=policy)
    sent = request_for(ONE, GOOD, nonce=b"n" * 16)
    assert statuses(ours.answer(sent, NOW + DAY)) == ["good"]
    late = ours.answer(sent, NOW + DAY + 1)
    if expected is None:
        assert (late.status, late.cause) == (OCSPResponseStatus.TRY_LATER, "expired_crl")
    else:
        assert statuses(late) == [expected]
        shown = read(late).next_update_utc
        assert (shown and int(shown.timestamp())) == (NOW + DAY if policy is ExpiredCRLPolicy.SERVE else None)


def test_expired_signer_is_answered_try_later():
    """A signer past its notAfter signs nothing: clients would refuse it."""
    old = ONE.issue_signer(not_after=NOW - 1)
    answer = responder(state(serving(ONE, point(ONE))), signer(old)).answer(request_for(ONE, GOOD), NOW)
    assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "expired_signer")


def test_signer_that_may_not_answer_for_the_ca_is_answered_try_later():
    """RFC 6960 4.2.2.2: what a signer of another CA, or none for OCSP, would sign no client takes; others are served."""
    served = state(serving(ONE, point(ONE)), serving(TWO, point(TWO), signer="two"))
    answering = responder(served, signer(SIGNER), signer(ONE.issue_signer("other"), "two"))
    answer = answering.answer(request_for(TWO, GOOD), NOW)
    assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "unfit_signer")
    assert statuses(answering.answer(request_for(ONE, GOOD), NOW)) == ["good"]


def test_signer_that_its_ca_has_revoked_is_answered_try_later():
    """The CA's word on its signer is in the CRL that is served: nothing more is signed with it, for that CA alone."""
    revoked = serving(ONE, point(ONE, entry(int.from_bytes(SIGNER.serial))))
    other = serving(TWO, point(TWO), signer="two")
    answering = responder(state(revoked, other), signer(SIGNER), signer(TWO.issue_signer(), "two"))
    answer = answering.answer(request_for(ONE, GOOD), NOW)
    assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, "revoked_signer")
    assert statuses(answering.answer(request_for(TWO, GOOD), NOW)) == ["good"]
    answering.replace(state(serving(ONE, point(ONE)), other))
    assert statuses(answering.answer(request_for(ONE, GOOD), NOW)) == ["good"]


def test_trusted_responder_that_its_own_ca_has_revoked_is_answered_try_later():
    """What counts is the word of the CA that certified the signer, and of no other with the same serial."""
    serial = int.from_bytes(SIGNER.serial)
    silent, speaking = serving(ONE, point(ONE)), serving(ONE, point(ONE, entry(serial)))
    trusting = serving(TWO, point(TWO, entry(serial)), trusted_responder=True)
    ours = responder(state(silent, trusting), signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    foreign = request_for(CA.create("Foreign CA", key=shared_key(number=7)), GOOD)
    for version, one, cause in ((2, silent, ""), (3, speaking, "revoked_signer"), (4, silent, "")):
        ours.replace(ServingState(version, (one, trusting), version - 1, frozenset({one.authority.id})))
        for request_der in (request_for(TWO, GOOD), request_for(ONE, GOOD), foreign):
            assert ours.answer(request_der, NOW).cause == cause
    ours.replace(ServingState(5, (trusting,), 4, frozenset({silent.authority.id})))
    assert ours.answer(request_for(TWO, GOOD), NOW).cause == "", "nobody says anything of it any more"


def test_signer_with_the_serial_of_a_revoked_attribute_certificate_signs():
    """Attribute certificates have serials of their own."""
    of_attributes = point(ONE, entry(int.from_bytes(SIGNER.serial)), scope=Scope("aa", b"aa", only_attribute=True))
    ours = responder(state(serving(ONE, point(ONE), of_attributes)), signer(SIGNER))
    assert statuses(ours.answer(request_for(ONE, GOOD), NOW)) == ["good"]


def test_expired_ca_with_a_delegated_signer_is_answered_try_later_and_told_to_nobody_longer():
    """Clients look at the CA's validity as well: no answer of its signer outlives the CA."""
    ending = CA.create("Ending CA", not_after=NOW + 60)
    served = state(serving(ending, point(ending, next_update=NOW + DAY)))
    answering = responder(served, signer(ending.issue_signer(not_after=NOW + DAY)))
    first = answering.answer(request_for(ending, GOOD), NOW)
    assert (first.terms.fresh_until, first.terms.next_update) == (NOW + 60, NOW + 60)
    late = answering.answer(request_for(ending, GOOD), NOW + 61)
    assert (late.status, late.cause) == (OCSPResponseStatus.TRY_LATER, "expired_ca")


def test_produced_at_is_not_before_the_signer_was_valid():
    """A signer younger than the CRL's acceptance: producedAt is its notBefore, on every instance alike."""
    young = ONE.issue_signer(not_before=NOW - 10)
    answer = responder(state(serving(ONE, point(ONE))), signer(young)).answer(request_for(ONE, GOOD), NOW)
    assert answer.produced_at == NOW - 10


def test_not_found_is_good_unknown_or_checked_against_the_issued_serials():
    """notFoundAsGood=false says unknown; a list of issued serials says good only of those on it."""
    sent = request_for(ONE, GOOD)
    strict = responder(state(serving(ONE, point(ONE), not_found_as_good=False)), signer(SIGNER))
    listed = responder(state(serving(ONE, point(ONE), issued={serial_octets(GOOD)})), signer(SIGNER))
    missing = responder(state(serving(ONE, point(ONE), issued={serial_octets(5)})), signer(SIGNER))
    assert [statuses(r.answer(sent, NOW)) for r in (strict, listed, missing)] == [["unknown"], ["good"], ["unknown"]]


def test_non_issued_is_revoked_under_the_extended_definition():
    """RFC 6960 2.2 and 4.4.8: revoked since 1970 with certificateHold, and the response says which definition."""
    served = state(serving(ONE, point(ONE), issued=set(), extended_revoke=True))
    response = read(responder(served, signer(SIGNER)).answer(request_for(ONE, GOOD), NOW))
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc.timestamp() == 0
    assert response.revocation_reason is x509.ReasonFlags.certificate_hold
    assert [e.oid.dotted_string for e in response.extensions] == ["1.3.6.1.5.5.7.48.1.9"]


def test_single_extensions_follow_the_policy_of_the_ca():
    """invalidityDate, CRL reference and archive cutoff are there when asked for, and only then."""
    policy = {"invalidity_date": True, "crl_reference": True, "archive_cutoff_seconds": 10 * DAY}
    rich = responder(state(serving(ONE, point(ONE, *ENTRIES), **policy)), signer(SIGNER))
    response = read(rich.answer(request_for(ONE, HELD), NOW))
    oids = [e.oid.dotted_string for e in response.single_extensions]
    assert oids == ["1.3.6.1.5.5.7.48.1.3", "1.3.6.1.5.5.7.48.1.6", "2.5.29.24"]
    assert len(read(usual().answer(request_for(ONE, HELD), NOW)).single_extensions) == 0


def test_next_update_can_be_left_out_but_still_bounds_the_answer():
    """includeNextUpdate=false hides nextUpdate from clients, not from the cache."""
    answer = usual(include_next_update=False).answer(request_for(ONE, GOOD), NOW)
    assert read(answer).next_update_utc is None
    assert (answer.terms.next_update, answer.terms.cacheable) == (NOW + DAY, True)


@pytest.mark.parametrize(
    "instance, own, tells", [(True, None, True), (False, None, False), (True, False, False), (False, True, True)]
)
def test_reason_is_told_where_the_policy_of_the_ca_or_else_the_instance_says_so(instance, own, tells):
    """Without its reason a revoked answer is of the same status and time, and one that Dogtag's decoder can read."""
    served = serving(ONE, point(ONE, *ENTRIES), reasons=own)
    response = read(responder(state(served), signer(SIGNER), reasons=instance).answer(request_for(ONE, REVOKED), NOW))
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc is not None
    assert (response.revocation_reason is not None) is tells


def test_reason_of_the_extended_definition_of_revoked_is_always_told():
    """RFC 6960 section 2.2: a serial that was never issued is answered revoked with certificateHold, or it is not so."""
    served = serving(ONE, point(ONE), issued={b"\x01"}, extended_revoke=True)
    response = read(responder(state(served), signer(SIGNER), reasons=False).answer(request_for(ONE, GOOD), NOW))
    assert response.revocation_reason is x509.ReasonFlags.certificate_hold


def test_serial_that_no_known_scope_covers_is_never_good():
    """A partition proves nothing of a serial it does not list, until all partitions declared are there."""
    first = Scope(scope_id="1" * 64, distribution_point_der=b"one")
    second = Scope(scope_id="2" * 64, distribution_point_der=b"two")
    points = (point(ONE, entry(REVOKED), scope=first), point(ONE, scope=second, next_update=NOW + HOUR))
    declared = ("1" * 64, "2" * 64)
    cases = [
        (serving(ONE, points[0]), GOOD, "unknown"),
        (serving(ONE, points[0]), REVOKED, "revoked"),
        (serving(ONE, *points), GOOD, "unknown"),
        (serving(ONE, points[0], expected_scopes=declared), GOOD, "unknown"),
        (serving(ONE, *points, expected_scopes=declared), GOOD, "good"),
    ]
    for served, number, expected in cases:
        answer = responder(state(served), signer(SIGNER)).answer(request_for(ONE, number), NOW)
        assert statuses(answer) == [expected]
    assert answer.terms.next_update == NOW + HOUR


def test_user_and_ca_crls_together_cover_every_certificate():
    """One CRL for user and one for CA certificates, without distribution points, leave nothing out."""
    user, authority = Scope(scope_id="1" * 64, only_user=True), Scope(scope_id="2" * 64, only_ca=True)
    alone = responder(state(serving(ONE, point(ONE, scope=user))), signer(SIGNER))
    both = responder(state(serving(ONE, point(ONE, scope=user), point(ONE, scope=authority))), signer(SIGNER))
    assert statuses(alone.answer(request_for(ONE, GOOD), NOW)) == ["unknown"]
    assert statuses(both.answer(request_for(ONE, GOOD), NOW)) == ["good"]


def test_crl_of_attribute_certificates_says_nothing_of_others():
    """Attribute certificates have serials of their own: their CRL neither revokes nor vouches for another."""
    attribute = Scope(scope_id="1" * 64, only_attribute=True)
    alone = responder(state(serving(ONE, point(ONE, entry(REVOKED), scope=attribute))), signer(SIGNER))
    beside = responder(state(serving(ONE, point(ONE, entry(REVOKED), scope=attribute), point(ONE))), signer(SIGNER))
    assert statuses(alone.answer(request_for(ONE, REVOKED), NOW)) == ["unknown"]
    assert statuses(beside.answer(request_for(ONE, REVOKED), NOW)) == ["good"]


def test_final_revocation_goes_before_a_hold_in_another_partition():
    """Where several CRLs list a serial the one that cannot be released counts."""
    some = Scope(scope_id="1" * 64, only_some_reasons=frozenset({Reason.CERTIFICATE_HOLD}))
    points = (point(ONE, entry(REVOKED, Reason.CERTIFICATE_HOLD), scope=some), point(ONE, entry(REVOKED)))
    answer = responder(state(serving(ONE, *points)), signer(SIGNER)).answer(request_for(ONE, REVOKED), NOW)
    assert read(answer).revocation_reason is x509.ReasonFlags.key_compromise


def test_answer_under_the_extended_definition_of_revoked_refers_to_no_crl():
    """RFC 6960 2.2: a non-issued serial is in no CRL, so the answer MUST NOT carry a reference to one."""
    served = state(serving(ONE, point(ONE, *ENTRIES), issued=set(), extended_revoke=True, crl_reference=True))
    answers = {
        number: responder(served, signer(SIGNER)).answer(request_for(ONE, number), NOW) for number in (GOOD, REVOKED)
    }
    reference = der.oid_tlv("1.3.6.1.5.5.7.48.1.3")
    assert [reference in answers[number].response_der for number in (GOOD, REVOKED)] == [False, True]


def test_no_answer_outlives_its_signer():
    """nextUpdate, what caches are told and what we keep ourselves end with the signer's notAfter."""
    short = ONE.issue_signer(not_after=NOW + HOUR)
    ours = responder(state(serving(ONE, point(ONE, *ENTRIES))), signer(short))
    for sent in (request_for(ONE, GOOD), request_for(ONE, REVOKED, nonce=b"n" * 16)):
        answer = ours.answer(sent, NOW)
        assert int(read(answer).next_update_utc.timestamp()) == NOW + HOUR
        assert (answer.terms.next_update, answer.terms.fresh_until) == (NOW + HOUR, NOW + HOUR)
    lasting = responder(state(serving(ONE, point(ONE, next_update=None))), signer(short)).answer(
        request_for(ONE, GOOD), NOW
    )
    assert (lasting.terms.next_update, lasting.terms.fresh_until) == (None, NOW + HOUR)


def test_produced_at_with_a_nonce_is_now_for_each_question():
    """RFC 6960 2.5: what was prepared for an earlier question says the moment of this one."""
    ours = usual()
    for at in (NOW, NOW + 5, NOW + HOUR):
        answer = ours.answer(request_for(ONE, GOOD, nonce=bytes(16)), at)
        assert int(read(answer).produced_at_utc.timestamp()) == at == answer.produced_at
        verify_signature(answer, SIGNER.certificate)


def test_live_times_are_equal_to_the_byte_within_a_slot():
    """Members agree within each slot, and what is cached ends with it."""
    start = NOW - NOW % 30
    sent = request_for(ONE, GOOD)

    def answer(at: int):
        return responder(state(serving(ONE, point(ONE), live_times=True)), signer(SIGNER)).answer(sent, at)

    first, second, following = answer(start), answer(start + 29), answer(start + 30)
    assert first.response_der == second.response_der != following.response_der
    assert (first.terms.next_update, first.terms.fresh_until, first.terms.cacheable) == (start + 30, start + 29, True)


def test_answer_of_the_next_slot_made_ahead_is_the_one_that_is_made_in_it():
    """It may be made before the slot begins, on one member, and in it on another one, to the byte; nothing else changes."""
    start = NOW - NOW % 30
    sent = request_for(ONE, GOOD)

    def ours():
        return responder(state(serving(ONE, point(ONE), live_times=True)), signer(SIGNER))

    early, late = ours(), ours()
    present = early.answer(sent, start + 28)
    assert present.terms.slot_end == start + 30
    ahead = early.answer(sent, present.terms.slot_end)
    assert early.answer(sent, start + 29).response_der == present.response_der
    assert ahead.response_der == late.answer(sent, start + 47).response_der != present.response_der
    assert ahead.produced_at == start + 30


@pytest.mark.parametrize(
    "at, different",
    [(NOW, {}), (NOW + DAY - 5, {"live_times": True}), (NOW + 30 * DAY, {"live_times": True})],
    ids=["no slots", "the CRL ends in the slot", "the CRL has ended"],
)
def test_answer_that_something_else_ends_before_its_slot_names_no_slot(at: int, different: dict):
    """There is no other answer to be made before: what comes next is not known."""
    ours = responder(state(serving(ONE, point(ONE), **different)), signer(SIGNER))
    assert ours.answer(request_for(ONE, GOOD), at).terms.slot_end is None


def test_each_ca_is_answered_by_its_own_signer():
    """A signer per CA and a default one; CertIDs of CAs with different signers do not go under one signature."""
    second = TWO.issue_signer("signer two", key=shared_key("EC", 3))
    served = state(serving(ONE, point(ONE)), serving(TWO, point(TWO), signer="two"))
    ours = responder(served, signer(SIGNER), signer(second, "two"))
    verify_signature(ours.answer(request_for(ONE, GOOD), NOW), SIGNER.certificate)
    verify_signature(ours.answer(request_for(TWO, GOOD), NOW), second.certificate)
    ids = [ours_id(ca) for ca in (ONE, TWO)]
    assert ours.answer(request(*ids), NOW).status is OCSPResponseStatus.UNAUTHORIZED
    missing = responder(state(serving(TWO, point(TWO), signer="two")), signer(SIGNER))
    assert missing.answer(request_for(TWO, GOOD), NOW).cause == "no_signer"


def ours_id(ca: CA) -> bytes:
    """DER of a CertID of `ca`."""
    name, key = issuer_hashes(ca.certificate, "SHA-1")
    parts = (der.tlv(der.OCTET_STRING, name), der.tlv(der.OCTET_STRING, key), der.tlv(der.INTEGER, b"\x05"))
    return der.tlv(der.SEQUENCE, digest_identifier("SHA-1"), *parts)


def test_preferred_signature_algorithm_is_taken_when_the_key_can_make_it():
    """RFC 6960 4.4.7: the first preference that can be met decides, else the default stands."""
    rsa = ONE.issue_signer(kind="RSA")
    oid = der.oid_octets("1.3.6.1.5.5.7.48.1.8")

    def preferring(*names: str) -> bytes:
        items = [der.tlv(der.SEQUENCE, ALGORITHMS[name].identifier_der) for name in names]
        return request(ours_id(ONE), extensions=[extension(oid, der.tlv(der.SEQUENCE, *items))])

    ours = responder(state(serving(ONE, point(ONE))), signer(rsa))
    met = ours.answer(preferring("SHA256withEC", "SHA512withRSA", "SHA384withRSA"), NOW)
    unmet = ours.answer(preferring("Ed25519"), NOW)
    assert isinstance(read(met).signature_hash_algorithm, hashes.SHA512)
    assert isinstance(read(unmet).signature_hash_algorithm, hashes.SHA256)


def test_preferred_signature_algorithm_chooses_among_several_signers_of_a_ca():
    """A CA with two signers answers by the one that makes what the client prefers first, else by its default one."""
    post_quantum = ONE.issue_signer(kind="ML-DSA-65")
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER), signer(post_quantum, "pq"))
    oid = der.oid_octets("1.3.6.1.5.5.7.48.1.8")

    def answered_with(*names: str) -> x509.Certificate:
        items = [der.tlv(der.SEQUENCE, ALGORITHMS[name].identifier_der) for name in names]
        answer = ours.answer(request(ours_id(ONE), extensions=[extension(oid, der.tlv(der.SEQUENCE, *items))]), NOW)
        return read(answer).certificates[0]

    assert answered_with("ML-DSA-65", "SHA256withEC") == post_quantum.certificate
    assert answered_with("SHA256withEC", "ML-DSA-65") == SIGNER.certificate
    assert answered_with("Ed25519") == SIGNER.certificate
    assert read(ours.answer(request_for(ONE, GOOD), NOW)).certificates[0] == SIGNER.certificate


def test_signer_signs_in_each_second_of_its_validity_and_in_no_other():
    """Both ends belong to it; a template that was learned before is not used for a signer that is valid since."""
    later = ONE.issue_signer(kind="RSA", not_before=NOW + HOUR, not_after=NOW + 2 * HOUR)
    ours = responder(state(serving(ONE, point(ONE, next_update=NOW + DAY))), signer(later, "later"), signer(SIGNER))
    single = responder(state(serving(ONE, point(ONE, next_update=NOW + DAY))), signer(later))
    expected = {
        NOW: SIGNER,
        NOW + HOUR - 1: SIGNER,
        NOW + HOUR: later,
        NOW + 2 * HOUR: later,
        NOW + 2 * HOUR + 1: SIGNER,
    }
    for at, one in expected.items():
        for number in (GOOD, GOOD + 7):
            assert read(ours.answer(request_for(ONE, number), at)).certificates[0] == one.certificate
        assert (single.answer(request_for(ONE, GOOD), at).cause == "expired_signer") == (one is SIGNER)


def test_trusted_responder_answers_for_a_ca_that_did_not_issue_it():
    """Only where an operator has said so: else the CA is answered tryLater, as clients would refuse the signer."""
    refused = responder(state(serving(TWO, point(TWO))), signer(SIGNER))
    assert refused.answer(request_for(TWO, GOOD), NOW).cause == "unfit_signer"
    ours = responder(
        state(serving(ONE, point(ONE)), serving(TWO, point(TWO, *ENTRIES), trusted_responder=True)), signer(SIGNER)
    )
    for number, expected in ((GOOD, "good"), (REVOKED, "revoked")):
        answer = ours.answer(request_for(TWO, number), NOW)
        assert statuses(answer) == [expected]
        verify_signature(answer, SIGNER.certificate)
    late = int(SIGNER.certificate.not_valid_after_utc.timestamp()) + 1
    assert ours.answer(request_for(TWO, GOOD), late).cause == "expired_signer"


def test_compromised_ca_is_answered_revoked_or_not_at_all():
    """Every serial is revoked since that moment, whatever the CRL says; or nothing is said, by policy."""
    served = state(serving(ONE, point(ONE, *ENTRIES), compromised_at=NOW - HOUR))
    ours = responder(served, signer(SIGNER))
    response = read(ours.answer(request_for(ONE, GOOD), NOW))
    assert response.revocation_reason is x509.ReasonFlags.ca_compromise
    assert int(response.revocation_time_utc.timestamp()) == NOW - HOUR
    assert ours.answer(request_for(ONE, GOOD), NOW) == responder(served, signer(SIGNER)).answer(
        request_for(ONE, GOOD), NOW + HOUR
    ), "members agree, at any time"
    silent = state(serving(ONE, point(ONE), compromised_at=NOW - HOUR, compromised_answer=CompromisedAnswer.TRY_LATER))
    assert responder(silent, signer(SIGNER)).answer(request_for(ONE, GOOD), NOW).cause == "compromised_ca"


def signed_request(requestor, *, broken: bool = False, named: bool = True, send: bool = True) -> bytes:
    """A request signed by `requestor` with its certificate sent along."""
    front = der.tlv(0xA1, der.tlv(0x82, b"client.example")) if named else b""
    tbs = der.tlv(der.SEQUENCE, front, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, ours_id(ONE))))
    signature = signer(requestor).sign(tbs + (b"!" if broken else b""), "SHA256withEC")
    chain = der.tlv(0xA0, der.tlv(der.SEQUENCE, requestor.der)) if send else b""
    algorithm = ALGORITHMS["SHA256withEC"].identifier_der
    parts = der.tlv(der.SEQUENCE, algorithm, der.tlv(der.BIT_STRING, b"\x00", signature), chain)
    return der.tlv(der.SEQUENCE, tbs, der.tlv(0xA0, parts))


def test_request_signature_policy_decides():
    """ignore takes anything; verify takes unsigned and trusted requests; require takes trusted ones only."""
    client, foreign = TWO.issue("client"), ONE.issue("foreign")
    requests = {
        "unsigned": request(ours_id(ONE)),
        "trusted": signed_request(client),
        "wrong": signed_request(client, broken=True),
        "foreign": signed_request(foreign),
        "nameless": signed_request(client, named=False),
        "not sent": signed_request(client, send=False),
    }
    outcomes = {
        policy: {
            kind: usual(signature=policy, requestor_trust=(TWO.der,)).answer(sent, NOW).status.name
            for kind, sent in requests.items()
        }
        for policy in RequestSignaturePolicy
    }
    ok, no, bad = "SUCCESSFUL", "UNAUTHORIZED", "MALFORMED_REQUEST"
    assert set(outcomes[RequestSignaturePolicy.IGNORE].values()) == {ok}
    checked = {"trusted": ok, "wrong": no, "foreign": no, "nameless": bad, "not sent": no}
    assert outcomes[RequestSignaturePolicy.VERIFY] == checked | {"unsigned": ok}
    assert outcomes[RequestSignaturePolicy.REQUIRE] == checked | {"unsigned": "SIG_REQUIRED"}


def test_malformed_and_oversized_requests_get_their_status_as_der():
    """The unsigned error response is the five octets of RFC 6960: SEQUENCE of one ENUMERATED."""
    for sent in (b"", b"junk", b"\x30" + b"\x00" * 70_000):
        answer = usual().answer(sent, NOW)
        assert (answer.status, answer.response_der) == (
            OCSPResponseStatus.MALFORMED_REQUEST,
            bytes.fromhex("30030a0101"),
        )


def test_replaced_state_is_answered_from_at_once():
    """After replace nothing of the former epoch is given out, with a nonce or without."""
    ours = usual()
    for sent in (request_for(ONE, GOOD), request_for(ONE, GOOD, nonce=b"n" * 16)):
        ours.replace(state(serving(ONE, point(ONE, *ENTRIES))))
        assert statuses(ours.answer(sent, NOW)) == ["good"]
        ours.replace(state(serving(ONE, point(ONE, entry(GOOD)))))
        assert statuses(ours.answer(sent, NOW)) == ["revoked"]


def test_answer_names_the_one_ca_that_it_speaks_of():
    """What is counted by CA: an answer of one CA names it, one of several CAs or of an error names none."""
    served = state(serving(ONE, point(ONE)), serving(TWO, point(TWO), signer="two"))
    answering = responder(served, signer(SIGNER), signer(TWO.issue_signer(), "two"))
    assert answering.answer(request_for(ONE, GOOD), NOW).terms.authority_id == authority_id(ONE.certificate)
    with_nonce = request_for(TWO, GOOD, nonce=b"n" * 16)
    assert answering.answer(with_nonce, NOW).terms.authority_id == authority_id(TWO.certificate)
    mixed = request(ours_id(ONE), ours_id(TWO))
    with_foreign = responder(
        state(serving(ONE, point(ONE))), signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN
    )
    assert with_foreign.answer(mixed, NOW).cert_statuses == (CertStatus.GOOD, CertStatus.UNKNOWN)
    assert with_foreign.answer(mixed, NOW).terms.authority_id == ""
    assert answering.answer(b"junk", NOW).terms.authority_id == ""


@pytest.mark.parametrize(
    "policy", [{}, {"live_times": True, "live_this_update": True}, {"archive_cutoff_seconds": DAY}]
)
def test_serials_one_after_another_get_what_each_gets_alone(policy):
    """What serials that nothing lists share is shared at one moment alone, and with no listed one."""
    key = ONE.issue_signer()
    holding = state(serving(ONE, point(ONE, *ENTRIES), **policy))
    one = responder(holding, signer(key))
    moments = (NOW, NOW + 1, NOW + HOUR)
    cases = [
        (request_for(ONE, number, nonce=nonce), at)
        for at in moments
        for number in (GOOD, REVOKED, GOOD + 10, HELD, GOOD + 11)
        for nonce in (None, b"n" * 16)
    ]
    assert [one.answer(*case) for case in cases] == [responder(holding, signer(key)).answer(*case) for case in cases]


def test_state_that_was_foreseen_is_worked_out_before_it_is_asked_and_answered_alike(monkeypatch):
    """With many issuing points nothing is worked out at the first question, whoever signs; the answers are the same."""
    scopes = [Scope(scope_id=f"{number:064x}", distribution_point_der=b"%d" % number) for number in range(20)]
    points = [point(ONE, *(ENTRIES if not number else ()), scope=one) for number, one in enumerate(scopes)]
    many = serving(ONE, *points, expected_scopes=tuple(one.scope_id for one in scopes))
    foreseeing, other = usual(), usual()
    requests = [request_for(ONE, number) for number in (GOOD, REVOKED, HELD)]
    foreseeing.foresee(state(many, version=2), NOW)
    assert [foreseeing.answer(one, NOW) for one in requests] == [usual().answer(one, NOW) for one in requests]
    later = state(many, version=2)
    foreseeing.foresee(later, NOW)
    views: list[int] = []
    of = status._View.of.__func__
    monkeypatch.setattr(status._View, "of", classmethod(lambda *every: views.append(1) or of(*every)))
    foreseeing.replace(later)
    answers = [foreseeing.answer(one, NOW).response_der for one in requests]
    foreseeing.sign_with({"ocsp": signer(SIGNER)}, "ocsp")
    assert [foreseeing.answer(one, NOW).response_der for one in requests] == answers
    assert not views
    other.replace(later)
    assert [other.answer(one, NOW).response_der for one in requests] == answers
    assert views


def test_ca_that_comes_ends_no_answer_of_another():
    """Only one that says something against a signer concerns others: many CAs begin at the cost of each by itself."""
    cas = [CA.create(f"CA {number}") for number in range(3)]
    signers = [signer(ca.issue_signer(), f"s{number}") for number, ca in enumerate(cas)]
    servings = [serving(ca, point(ca), signer=f"s{number}") for number, ca in enumerate(cas)]
    ours = responder(state(servings[0]), *signers)
    basis = ours.answer(request_for(cas[0], GOOD), NOW).terms.basis
    ids = frozenset(one.authority.id for one in servings[1:])
    ours.replace(ServingState(2, tuple(servings), 1, ids))
    assert basis.current


def test_time_of_an_answer_stands_for_it_only_where_no_other_one_had_it():
    """Who asks whether it changed since (RFC 9110 13.1.3) is told no only where two answers have two times."""

    def terms(version: int, this_update: int, sent: bytes = request_for(ONE, GOOD), **policy):
        made = serving(ONE, point(ONE, this_update=this_update), **policy)
        ours.replace(ServingState(version, (made, serving(TWO, point(TWO)))))
        answer = ours.answer(sent, NOW).terms
        return answer.settled_at - NOW, answer.is_dated

    both = state(serving(ONE, point(ONE)), serving(TWO, point(TWO)))
    ours = responder(both, signer(ONE.issue_signer()), signer(TWO.issue_signer(), "two"))
    start = NOW - HOUR
    assert terms(1, start) == (0, True), "nothing was said before"
    assert terms(2, start + 9) == (60, True), "a newer CRL, and others may answer from the former one for a while"
    assert terms(3, start + 9, not_found_as_good=False) == (60, False), "the same time for another answer"
    assert terms(4, start) == (60, False), "a time that was said before"
    assert terms(5, start + 9) == (60, False)
    assert terms(6, start + 10, live_times=True) == (60, False), "the CRL's time tells nothing of the slot"
    assert terms(7, start + 11) == (60, True)
    ours.withhold(frozenset({authority_id(ONE.certificate)}))
    ours.withhold(frozenset())
    assert terms(7, start + 11) == (60, False), "what is said may have changed with the same CRL"
