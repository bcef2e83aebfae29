"""Whose signed requests are answered (RFC 6960 section 4.1.2): whatever else is sent along or trusted, and until when."""

from __future__ import annotations

import pytest
from tests.pki import CA, NOW, Issued
from tests.serving import request_for, signer

from vouchd.core.requestor import verify_requestor
from vouchd.errors import Unauthorized
from vouchd.pkix import certs
from vouchd.pkix.ocsp import RequestSignature, parse_request
from vouchd.pkix.signatures import ALGORITHMS

ONE, TWO = CA.create("CA one"), CA.create("CA two")
CLIENT, OTHER, FOREIGN = TWO.issue("client"), TWO.issue("other"), ONE.issue("foreign")


def verify(*sent: Issued, by: Issued = CLIENT, trust: tuple[Issued | CA, ...] = (TWO,), at: int = NOW) -> None:
    octets = b"a request"
    made = signer(by).sign(octets, "SHA256withEC")
    identifier = ALGORITHMS["SHA256withEC"].identifier_der
    signature = RequestSignature(octets, identifier, made, tuple(one.der for one in sent))
    request = parse_request(request_for(ONE, 1))._replace(has_requestor=True, signature=signature)
    verify_requestor(request, tuple(one.der for one in trust), at)


@pytest.mark.parametrize("sent", [(CLIENT,), (FOREIGN, CLIENT), (OTHER, CLIENT), (CLIENT, FOREIGN)])
def test_requestor_stands_at_any_place_among_the_certificates_sent(sent):
    """The order means nothing, and neither a stranger's nor another trusted certificate beside it does harm."""
    verify(*sent)
    with pytest.raises(Unauthorized):
        verify(*sent, trust=(ONE,))


def test_requestor_that_is_trusted_itself_need_send_nothing():
    """The trust list may hold requestors, at any place of it."""
    verify(trust=(OTHER, CLIENT))
    with pytest.raises(Unauthorized):
        verify(trust=(OTHER,))


def test_requestor_counts_from_the_first_to_the_last_second_of_its_certificate():
    """RFC 5280 4.1.2.5: both ends of the validity belong to it."""
    first, last = certs.not_before(CLIENT.certificate), certs.not_after(CLIENT.certificate)
    for at in (first, last):
        verify(CLIENT, at=at)
    for at in (first - 1, last + 1):
        with pytest.raises(Unauthorized, match="not valid now"):
            verify(CLIENT, at=at)
