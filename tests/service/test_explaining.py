"""An explanation says what the answer says, and what it rests on."""

from __future__ import annotations

import pytest
from cryptography.x509 import ocsp
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.service.world import user_certificates
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.core.facts import ExpiredCRLPolicy
from vouchd.core.policy import ResponsePolicy, UnknownIssuerPolicy
from vouchd.core.status import ServingState
from vouchd.errors import OCSPResponseStatus
from vouchd.pkix.certs import authority_id
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import Scope
from vouchd.service.explaining import EffectivePolicy, Explanation, Signers, explain, explain_each
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_revocations import SignerRevocations

ONE = CA.create("CA one")
OTHER = CA.create("CA other", key=shared_key("EC", 2))
SIGNER = ONE.issue_signer()
GOOD, REVOKED, HELD = 1001, 1002, 1003
LISTED = (entry(REVOKED), entry(HELD, Reason.CERTIFICATE_HOLD))
EXPIRED = {"this_update": NOW - 2 * DAY, "next_update": NOW - 1}
USERS_ONLY = Scope(only_user=True)

SITUATIONS = {
    "listed": (state(serving(ONE, point(ONE, *LISTED))), REVOKED, {}),
    "on hold": (state(serving(ONE, point(ONE, *LISTED))), HELD, {}),
    "not listed": (state(serving(ONE, point(ONE, *LISTED))), GOOD, {}),
    "not listed, notFoundAsGood=false": (state(serving(ONE, point(ONE, *LISTED))), GOOD, {"not_found_as_good": False}),
    "the same for the CA": (state(serving(ONE, point(ONE, *LISTED), not_found_as_good=False)), GOOD, {}),
    "no CRL": (state(serving(ONE)), GOOD, {}),
    "expired CRL": (state(serving(ONE, point(ONE, *LISTED, **EXPIRED))), REVOKED, {}),
    "expired CRL served": (
        state(serving(ONE, point(ONE, *LISTED, **EXPIRED), expired_crl=ExpiredCRLPolicy.SERVE)),
        REVOKED,
        {},
    ),
    "expired CRL unknown": (
        state(serving(ONE, point(ONE, *LISTED, **EXPIRED))),
        REVOKED,
        {"expired_crl": ExpiredCRLPolicy.UNKNOWN},
    ),
    "never issued": (state(serving(ONE, point(ONE, *LISTED), issued={serial_octets(REVOKED)})), GOOD, {}),
    "never issued, extended": (
        state(serving(ONE, point(ONE, *LISTED), issued={serial_octets(REVOKED)}, extended_revoke=True)),
        GOOD,
        {},
    ),
    "partition that does not list it": (state(serving(ONE, point(ONE, *LISTED, scope=USERS_ONLY))), GOOD, {}),
    "not our CA": (state(serving(OTHER, point(OTHER))), GOOD, {}),
    "not our CA, unknown": (
        state(serving(OTHER, point(OTHER))),
        GOOD,
        {"unknown_issuer": UnknownIssuerPolicy.UNKNOWN},
    ),
    "signer not here": (state(serving(ONE, point(ONE, *LISTED), signer="elsewhere")), GOOD, {}),
}


def explained(holding: ServingState, number: int, at: int = NOW, **policy) -> Explanation:
    return explain(
        holding,
        ResponsePolicy(**policy),
        Signers(SignerCertificates({"signer": SIGNER.der}), "signer"),
        authority_id=authority_id(ONE.certificate),
        serial=serial_octets(number),
        at=at,
    )


def status_of(holding: ServingState, number: int, at: int = NOW, **policy) -> str:
    """What a client is told: a status, or the name of the error."""
    answer = responder(holding, signer(SIGNER), **policy).answer(request_for(ONE, number), at)
    if answer.status is not OCSPResponseStatus.SUCCESSFUL:
        return {OCSPResponseStatus.TRY_LATER: "tryLater", OCSPResponseStatus.UNAUTHORIZED: "unauthorized"}[
            answer.status
        ]
    return ocsp.load_der_ocsp_response(answer.response_der).certificate_status.name.lower()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_explanation_says_what_the_answer_says(situation) -> None:
    """Whatever the situation, the explained answer is the one that a client gets."""
    holding, number, policy = SITUATIONS[situation]
    explanation = explained(holding, number, **policy)
    assert explanation.answer == status_of(holding, number, **policy)
    assert explanation.why


def test_explanation_after_the_signer_expired_says_what_the_answer_says() -> None:
    """An expired signing certificate ends answering; the explanation names it."""
    holding, late = state(serving(ONE, point(ONE, next_update=NOW + 500 * DAY))), NOW + 400 * DAY
    explanation = explained(holding, GOOD, late)
    assert explanation.answer == status_of(holding, GOOD, late) == "tryLater"
    assert "signing certificate has expired" in explanation.why


SECOND = ONE.issue_signer(key=shared_key("EC", 3), not_before=NOW - HOUR)
LATER = ONE.issue_signer(key=shared_key("EC", 4), not_before=NOW + HOUR, not_after=NOW + DAY)


@pytest.mark.parametrize(
    ("named", "other", "listed"),
    [
        (SIGNER, SECOND, SIGNER),
        (SIGNER, SECOND, SECOND),
        (LATER, SECOND, None),
        (LATER, SIGNER, SIGNER),
        (SIGNER, LATER, None),
    ],
    ids=["named one revoked", "other one revoked", "named one to come", "both of no use", "other one to come"],
)
def test_explanation_with_two_signers_says_what_the_answer_says(named, other, listed) -> None:
    """Whichever of the signers is revoked or not valid yet: what is explained is what is answered, and by whom."""
    entries = [entry(GOOD + 5), *([entry(listed.certificate.serial_number)] if listed else [])]
    holding = state(serving(ONE, point(ONE, *sorted(entries, key=lambda one: one.serial))))
    answer = responder(holding, signer(named, "named"), signer(other, "other")).answer(request_for(ONE, GOOD), NOW)
    signers = Signers(SignerCertificates({"named": named.der, "other": other.der}), "named")
    explanation = explain(
        holding,
        ResponsePolicy(),
        signers,
        authority_id=authority_id(ONE.certificate),
        serial=serial_octets(GOOD),
        at=NOW,
    )
    assert explanation.answer == (answer.cert_statuses[0].value if answer.cert_statuses else "tryLater")
    if explanation.signer:
        shown = ocsp.load_der_ocsp_response(answer.response_der).certificates[0]
        assert shown == {"named": named, "other": other}[explanation.signer].certificate


def test_explanation_of_a_revoked_serial_names_its_crl_and_entry() -> None:
    """The issuing point relied upon, its CRL and the entry are told, and so is the signer."""
    crl = point(ONE, *LISTED)
    explanation = explained(state(serving(ONE, crl)), REVOKED)
    (examined,) = explanation.points
    assert (examined.point, examined.entry, examined.relied_upon, examined.stale) == (crl, entry(REVOKED), True, False)
    assert explanation.signer == "signer"
    assert (explanation.serial, explanation.authority) == (serial_octets(REVOKED), serving(ONE).authority)
    assert explanation.hint == ""
    assert explanation.decision is not None
    assert explanation.decision.this_update == NOW - HOUR


def test_explanation_tells_partitions_relied_upon_from_others() -> None:
    """Of several issuing points only the one that lists the serial is relied upon; the others are shown as well."""
    users = point(ONE, entry(REVOKED), scope=USERS_ONLY)
    authorities = point(ONE, scope=Scope(only_ca=True))
    explanation = explained(state(serving(ONE, users, authorities)), REVOKED)
    assert [examined.relied_upon for examined in explanation.points] == [True, False]


def test_explanation_of_an_expired_crl_shows_which_and_what_to_do() -> None:
    """With tryLater the stale issuing point is marked and the remedy told; nothing is signed."""
    holding, _, _ = SITUATIONS["expired CRL"]
    explanation = explained(holding, GOOD)
    assert [examined.stale for examined in explanation.points] == [True]
    assert (explanation.signer, explanation.decision) == (None, None)
    assert explanation.hint


@pytest.mark.parametrize("at", [NOW - 1, NOW, NOW + HOUR, NOW + HOUR + 1])
def test_explanation_names_the_signer_that_signs_in_that_second(at: int) -> None:
    """Both ends of a signer's validity belong to it, for who explains as for who answers."""
    named, other = ONE.issue_signer(not_before=NOW, not_after=NOW + HOUR), SECOND
    holding = state(serving(ONE, point(ONE, this_update=NOW - DAY)))
    for signers in ({"named": named, "other": other}, {"named": named}):
        ours = responder(holding, *(signer(one, nickname) for nickname, one in signers.items()))
        answer = ours.answer(request_for(ONE, GOOD), at)
        explanation = explain(
            holding,
            ResponsePolicy(),
            Signers(SignerCertificates({nickname: one.der for nickname, one in signers.items()}), "named"),
            authority_id=authority_id(ONE.certificate),
            serial=serial_octets(GOOD),
            at=at,
        )
        if answer.status is OCSPResponseStatus.SUCCESSFUL:
            (certificate,) = ocsp.load_der_ocsp_response(answer.response_der).certificates
            assert explanation.signer is not None
            assert certificate == signers[explanation.signer].certificate
        else:
            assert (explanation.answer, explanation.signer) == ("tryLater", None)
            assert ("not valid yet" in explanation.why) is (at < NOW)


def test_explanation_of_a_foreign_issuer_names_serial_and_signer() -> None:
    """Who says `unknown` of it is the default signer; who says `unauthorized` signs nothing."""
    holding = state(serving(OTHER, point(OTHER)))
    unknown = explained(holding, GOOD, unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    assert (unknown.serial, unknown.signer) == (serial_octets(GOOD), "signer")
    unauthorized = explained(holding, GOOD)
    assert (unauthorized.serial, unauthorized.signer) == (serial_octets(GOOD), None)
    for one in (unknown, unauthorized):
        assert "does not answer for the issuer" in one.why
        assert "vouchd authority add" in one.hint


def test_serials_that_are_explained_together_are_explained_as_each_alone() -> None:
    """One signer is chosen for all; without a key they are those of the CA's newest one."""
    one_ca = serving(ONE, point(ONE, *LISTED))
    certificates = SignerCertificates({"signer": SIGNER.der})
    numbers = (GOOD, REVOKED, HELD)
    together = explain_each(
        one_ca,
        ResponsePolicy(),
        Signers(certificates, "signer"),
        SignerRevocations(certificates, [one_ca]),
        serials=map(serial_octets, numbers),
        at=NOW,
    )
    assert together == [explained(state(one_ca), number) for number in numbers]
    assert {one.signer for one in together} == {"signer"}


def test_explanation_of_a_serial_that_no_crl_covers_tells_what_mends_it() -> None:
    """Where the CRLs leave it uncovered the operator is told what to add or to say; elsewhere nothing is to be mended."""
    users = Scope.from_idp(user_certificates().public_bytes())
    holding = state(serving(ONE, point(ONE, *LISTED, scope=users)))
    assert "--expected-scope" in explained(holding, GOOD).hint
    assert explained(holding, REVOKED).hint == ""
    strict = state(serving(ONE, point(ONE, *LISTED), not_found_as_good=False))
    assert explained(strict, GOOD).hint == ""


@pytest.mark.parametrize(
    ("own", "instance", "effective"),
    [
        ({"not_found_as_good": False}, {"not_found_as_good": True}, {"not_found_as_good": False}),
        ({}, {"not_found_as_good": False}, {"not_found_as_good": False}),
        ({"include_next_update": False}, {}, {"include_next_update": False}),
        ({}, {"include_next_update": False}, {"include_next_update": False}),
        ({"reasons": False}, {"reasons": True}, {"reasons": False}),
        ({}, {"reasons": False}, {"reasons": False}),
        ({"expired_crl": ExpiredCRLPolicy.SERVE}, {"expired_crl": ExpiredCRLPolicy.UNKNOWN}, {"expired_crl": "serve"}),
        ({}, {"expired_crl": ExpiredCRLPolicy.UNKNOWN}, {"expired_crl": "unknown"}),
        ({"extended_revoke": True}, {}, {"extended_revoke": True}),
        ({"expected_scopes": ("complete",)}, {}, {"expected_scopes": ("complete",)}),
        ({"issued": set()}, {}, {"issued_serials_known": True}),
        ({}, {"by_name": True}, {"by_name": True}),
        ({}, {}, {}),
    ],
)
def test_effective_policy_is_all_that_bears_on_the_answer(own: dict, instance: dict, effective: dict) -> None:
    """Each setting as it counts for this CA: its own one, else the instance's, else the default."""
    policy = explained(state(serving(ONE, point(ONE, *LISTED), **own)), REVOKED, **instance).policy
    assert policy == EffectivePolicy(
        **{
            "not_found_as_good": True,
            "include_next_update": True,
            "reasons": True,
            "expired_crl": "tryLater",
            "extended_revoke": False,
            "issued_serials_known": False,
            "expected_scopes": (),
            "by_name": False,
        }
        | effective
    )
