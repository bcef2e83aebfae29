"""What an answer says to those that keep or count it, beside its octets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.pki import CA, DAY, HOUR, NOW, shared_key
from tests.pkix.test_ocsp import request
from tests.service.test_answering import ours_id, read
from tests.serving import point, request_for, responder, serving, signer, state

from vouchd.core.policy import UnknownIssuerPolicy
from vouchd.pkix import der

ONE = CA.create("CA one")
TWO = CA.create("CA two", key=shared_key("EC", 2))
FOREIGN = CA.create("Foreign CA", key=shared_key("EC", 3))
SIGNER = ONE.issue_signer()
GOOD = 1001


def test_answer_about_several_cas_or_nobodys_names_none():
    """What is counted by CA, and ended with it, is an answer of that CA alone."""
    served = state(serving(ONE, point(ONE)), serving(TWO, point(TWO), trusted_responder=True))
    ours = responder(served, signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    for cas in ((ONE, TWO), (TWO, FOREIGN), (FOREIGN,)):
        for order in (cas, cas[::-1]):
            assert ours.answer(request(*map(ours_id, order)), NOW).terms.authority_id == ""


def test_instance_without_a_ca_says_unknown_where_its_policy_does():
    """There is no acceptance to count from yet: the answer's time is that of the signer."""
    ours = responder(state(), signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    answer = ours.answer(request_for(ONE, GOOD), NOW)
    assert answer.cert_statuses == ("unknown",)
    assert answer.terms.this_update == int(SIGNER.certificate.not_valid_before_utc.timestamp())


@pytest.mark.parametrize(
    ("kind", "algorithm", "repeats"),
    [
        ("EC", "SHA256withEC", True),
        ("RSA", "SHA256withRSA", True),
        ("RSA", "SHA256withRSA/PSS", False),
        ("ML-DSA-65", "ML-DSA-65", False),
    ],
)
def test_answer_says_whether_its_octets_come_again(kind: str, algorithm: str, repeats: bool):
    """Another signature over the same data is the same only where the algorithm has nothing random."""
    ours = responder(state(serving(ONE, point(ONE))), signer(ONE.issue_signer(kind=kind), algorithm=algorithm))
    assert ours.answer(request_for(ONE, GOOD), NOW).terms.repeats is repeats


def test_answer_to_an_unusual_request_says_so():
    """Nobody else will ask just that, so it is not worth a place in a cache."""
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER))
    name = der.tlv(0xA1, der.tlv(0x82, b"client.example"))
    listed = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, ours_id(ONE)))
    named = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, name, listed))
    assert [ours.answer(sent, NOW).terms.unusual for sent in (request_for(ONE, GOOD), named)] == [False, True]


@pytest.mark.parametrize(("later", "dated"), [(0, True), (1, False)])
def test_time_of_an_answer_stands_for_it_once_its_signer_was_valid(later: int, dated: bool):
    """Where the signer is younger than the CRL, producedAt moves with the signer and thisUpdate does not."""
    young = ONE.issue_signer(not_before=NOW - HOUR + later)
    ours = responder(state(serving(ONE, point(ONE, this_update=NOW - HOUR))), signer(young))
    assert ours.answer(request_for(ONE, GOOD), NOW).terms.is_dated is dated


def test_archive_cutoff_of_an_answer_with_a_nonce_counts_from_the_question():
    """RFC 6960 4.4.4: it is producedAt less the retention, and producedAt is now."""
    ours = responder(state(serving(ONE, point(ONE), archive_cutoff_seconds=10 * DAY)), signer(SIGNER))
    for at in (NOW, NOW + 7):
        (cutoff,) = read(ours.answer(request_for(ONE, GOOD, nonce=bytes(16)), at)).single_extensions
        moment = datetime.strptime(cutoff.value.value[2:].decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
        assert int(moment.timestamp()) == at - 10 * DAY


def test_answer_about_several_cas_is_never_dated():
    """Its time may be that of another answer: which CA it was of is not known any more."""
    served = state(serving(ONE, point(ONE)), serving(TWO, point(TWO), trusted_responder=True))
    terms = responder(served, signer(SIGNER)).answer(request(ours_id(ONE), ours_id(TWO)), NOW).terms
    assert (terms.is_dated, terms.settled_at > NOW) == (False, True)


def test_slot_of_an_answer_is_that_of_all_in_it_and_of_its_signer():
    """What comes next can be made before only where it is the slot that ends the answer, and nothing else."""
    start = NOW - NOW % 60
    for ends, seconds, expected in (
        (start + 61, 60, start + 60),
        (start + 60, 60, start + 60),
        (start + 59, 60, None),
        (start + 61, 30, None),
    ):
        one = serving(ONE, point(ONE), live_times=True, slot_seconds=60)
        two = serving(TWO, point(TWO), live_times=True, slot_seconds=seconds, trusted_responder=True)
        ours = responder(state(one, two), signer(ONE.issue_signer(not_after=ends)))
        assert ours.answer(request(ours_id(ONE), ours_id(TWO)), start).terms.slot_end == expected
