"""What bears upon answers for a few CAs of many: a responder over that says of them what one over all says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography.x509 import ocsp
from tests.pki import CA, NOW, shared_key
from tests.serving import entry, point, request_for, serving, signer, state

from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingState
from vouchd.errors import OCSPResponseStatus, SigningError
from vouchd.instance.selftests.canary import Canary
from vouchd.instance.selftests.surroundings import Surroundings
from vouchd.service.answering import Responder
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.signing.software import SoftwareSigner

CAS = [CA.create(f"CA {number}", key=shared_key(number=number)) for number in range(4)]
REVOKED = 1002


def signed(*signers: SoftwareSigner) -> dict[str, SoftwareSigner]:
    return {one.nickname: one for one in signers}


def surroundings(served: ServingState, signers: dict[str, SoftwareSigner]) -> Surroundings:
    certificates = SignerCertificates({name: one.certificate_der for name, one in signers.items()})
    return Surroundings(served, signers, certificates, "s0")


def near(served: ServingState, signers: dict[str, SoftwareSigner], *places: int) -> tuple[list[int], list[str]]:
    """Where the CAs stand that bear upon answers for these, and the nicknames of signers."""
    nearby, names = surroundings(served, signers).of([served.authorities[place] for place in places])
    return [served.authorities.index(one) for one in nearby.authorities], list(names)


def own_signers() -> dict[str, SoftwareSigner]:
    return signed(*(signer(ca.issue_signer(f"signer {n}"), f"s{n}") for n, ca in enumerate(CAS)))


def test_ca_with_a_signer_of_its_own_needs_nothing_else():
    """Of many CAs that is nearly each, and costs no look at the others."""
    served = state(*(serving(ca, point(ca), signer=f"s{n}") for n, ca in enumerate(CAS)))
    assert near(served, own_signers(), 2) == ([2], ["s2"])
    assert near(served, own_signers(), 3, 1) == ([1, 3], ["s1", "s3"])


def test_other_signers_that_the_ca_has_issued_are_near():
    """After a change of its key, or for clients that prefer an algorithm, one of these may answer."""
    signers = own_signers() | signed(signer(CAS[2].issue_signer("another"), "x"))
    served = state(*(serving(ca, point(ca), signer=f"s{n}") for n, ca in enumerate(CAS)))
    assert near(served, signers, 2) == ([2], ["s2", "x"])


def test_ca_that_issued_a_trusted_responder_is_near():
    """It says whether the responder is revoked, whoever that answers for."""
    trusted = serving(CAS[1], point(CAS[1]), signer="s0", trusted_responder=True)
    served = state(serving(CAS[3], point(CAS[3]), signer="s3"), trusted, serving(CAS[0], point(CAS[0]), signer="s0"))
    assert near(served, own_signers(), 1) == ([1, 2], ["s0", "s1"])


@pytest.mark.parametrize("revoked", [False, True])
def test_canary_of_a_lot_hears_the_ca_that_revokes_its_signer(revoked):
    """A signer that another CA has revoked gives no answer in a lot without that CA, as it gives none to clients."""
    leaf = CAS[0].issue_signer("trusted")
    entries = [entry(leaf.certificate.serial_number)] if revoked else []
    issuing = serving(CAS[0], point(CAS[0], *entries), signer="s0")
    trusting = serving(CAS[1], point(CAS[1]), signer="s0", trusted_responder=True)
    served, signers = state(issuing, trusting), signed(signer(leaf, "s0"))
    for canary in (
        Canary(*surroundings(served, signers).of([trusting]), "s0", ResponsePolicy()),
        Canary(served, signers, "s0", ResponsePolicy()),
    ):
        said = canary.sing(NOW)(trusting)
        assert ("revoked by its CA" in said) is revoked


def test_canary_of_a_lot_finds_the_ca_in_whose_place_another_one_answers():
    """Of two with a name and a key in common the last one answers: that the first says otherwise is found."""
    first = serving(CAS[0], point(CAS[0], entry(REVOKED)), signer="s0")
    last = serving(CAS[0], point(CAS[0]), signer="s0")
    last = replace(last, authority=replace(last.authority, id="f" * 64))
    served, signers = state(first, serving(CAS[1], point(CAS[1]), signer="s1"), last), own_signers()
    assert near(served, signers, 0)[0] == [0, 2]
    canary = Canary(*surroundings(served, signers).of([first]), "s0", ResponsePolicy())
    with pytest.raises(SigningError, match="is answered good where the CRL says revoked"):
        canary.sing(NOW)(first)
    assert canary.sing(NOW)(last) == "good"


def shown(responder: Responder, ca: CA) -> tuple[object, ...]:
    """What is answered of that CA's serial, but for the signature, which is another one each time."""
    answer = responder.answer(request_for(ca, REVOKED), NOW)
    if answer.status is not OCSPResponseStatus.SUCCESSFUL:
        return answer.status, answer.cause
    response = ocsp.load_der_ocsp_response(answer.response_der)
    return response.tbs_response_bytes, response.certificates


def test_answers_over_the_surroundings_are_those_over_all():
    """Whichever CAs are looked at together, and whatever stands between them and others."""
    own, revoked = CAS[3], CAS[0].issue_signer("revoked")
    signers = own_signers() | signed(SoftwareSigner("own", own.key, own.der), signer(revoked, "r"))
    served = state(
        serving(CAS[0], point(CAS[0], entry(REVOKED), entry(revoked.certificate.serial_number)), signer="s0"),
        serving(CAS[1], point(CAS[1]), signer="own", trusted_responder=True),
        serving(CAS[2], point(CAS[2], entry(REVOKED)), signer="r", trusted_responder=True),
        serving(own, point(own, entry(REVOKED)), signer="own"),
    )
    every = Responder(served, signers, "s0", ResponsePolicy())
    expected = [shown(every, ca) for ca in CAS]
    assert expected[2] == (OCSPResponseStatus.TRY_LATER, "revoked_signer")
    for count in range(1, 5):
        for places in itertools.combinations(range(4), count):
            nearby, some = surroundings(served, signers).of([served.authorities[place] for place in places])
            few = Responder(nearby, some, "s0", ResponsePolicy())
            assert [shown(few, CAS[place]) for place in places] == [expected[place] for place in places]
