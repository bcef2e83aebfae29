"""The public OCSP vectors of `cryptography_vectors`, as requests to the responder's parser and responses to the client's.

Each file's origin is told in that project's `docs/development/test-vectors.rst`; most were taken from public responders.
"""

from __future__ import annotations

import pytest
from cryptography.x509 import ocsp
from tests.pki import NOW

from fuzz.responder import requests, responder
from fuzz.seeds import VECTORS
from vouchd.client.parsing import parse_response
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, MalformedRequest, OCSPResponseStatus
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.reasons import Reason

OCSP = VECTORS / "ocsp"

GOOD_REQUESTS = {
    "ocsp-army.valid-req": [("SHA-1", 0x0391AD)],
    "ocsp-army.revoked-req": [("SHA-1", 0x0391AE)],
    "ocsp-army.inapplicable-req": [("SHA-1", 1)],
    "req-acceptable-responses": [("SHA-1", 0xE5249FDAA8B47C86E7CCB85DDCF0162F)],
    "req-ext-nonce": [("SHA-1", 0x01AF1EFBDD5EAE0952320B24FE6B5568)],
    "req-ext-unknown-oid": [("SHA-1", 0x01AF1EFBDD5EAE0952320B24FE6B5568)],  # not critical, so passed over
    "req-invalid-hash-alg": [(None, 0x98D9E5C0B4C373552DF77C5D0F1EB5128E4945F9)],  # well formed; nobody's CertID
    "req-multi-sha1": [
        ("SHA-1", 0x98D9E5C0B4C373552DF77C5D0F1EB5128E4945F9),
        ("SHA-1", 0x98D9E5C0B4C373552DF77C5D0F1EB5128E4945F0),
    ],
    "req-sha1": [("SHA-1", 0x98D9E5C0B4C373552DF77C5D0F1EB5128E4945F9)],
}
BAD_REQUESTS = {"req-duplicate-ext": "twice", "req-invalid-version": "version"}

GOOD_RESPONSES = {
    "ocsp-army.deps.mil-resp": CertStatus.REVOKED,
    "resp-delegate-unknown-cert": CertStatus.UNKNOWN,
    "resp-invalid-signature-oid": CertStatus.GOOD,  # readable; it fails when its signature is verified
    "resp-responder-key-hash": CertStatus.REVOKED,
    "resp-revoked": CertStatus.REVOKED,
    "resp-revoked-no-next-update": CertStatus.REVOKED,
    "resp-revoked-reason": CertStatus.REVOKED,
    "resp-sct-extension": CertStatus.GOOD,
    "resp-sha256": CertStatus.GOOD,
    "resp-single-extension-reason": CertStatus.GOOD,
    "resp-unknown-extension": CertStatus.REVOKED,
    "resp-unknown-hash-alg": CertStatus.REVOKED,
}
BAD_RESPONSES = {
    "resp-invalid-version": "version",
    "resp-response-type-unknown-oid": "id-pkix-ocsp-basic",
    "resp-successful-no-response-bytes": "without a response",
    "resp-unknown-response-status": "status 7",
}
ERROR_RESPONSES = {"resp-unauthorized": OCSPResponseStatus.UNAUTHORIZED}


def vector(name: str) -> bytes:
    """DER of one vector."""
    return (OCSP / f"{name}.der").read_bytes()


@pytest.mark.parametrize("name", GOOD_REQUESTS)
def test_request_vector_is_read(name: str) -> None:
    """Well-formed requests tell their CertIDs in order."""
    cert_ids = parse_request(vector(name)).cert_ids
    assert [(cert_id.digest, int.from_bytes(cert_id.serial, "big")) for cert_id in cert_ids] == GOOD_REQUESTS[name]


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_request_vector_with_an_error_is_malformed(name: str) -> None:
    """A request that breaks a rule of RFC 6960 is refused with the reason."""
    with pytest.raises(MalformedRequest, match=BAD_REQUESTS[name]):
        parse_request(vector(name))


def test_request_vector_with_nonce_is_read() -> None:
    """The nonce is the inner OCTET STRING's content, and the extension is kept as it came."""
    request = parse_request(vector("req-ext-nonce"))
    assert request.nonce == bytes.fromhex("7b805a1d3726b8b84f48d2f8bfd72dfd")
    assert request.nonce_der in vector("req-ext-nonce")


@pytest.mark.parametrize("name", [*GOOD_REQUESTS, *BAD_REQUESTS])
def test_request_vector_gets_the_right_error(name: str) -> None:
    """A responder says unauthorized for a stranger's CertID, malformedRequest for what it cannot read."""
    answer = responder().answer(vector(name), NOW)
    expected = OCSPResponseStatus.MALFORMED_REQUEST if name in BAD_REQUESTS else OCSPResponseStatus.UNAUTHORIZED
    assert answer.status is expected
    assert ocsp.load_der_ocsp_response(answer.response_der).response_status.value == expected


@pytest.mark.parametrize("name", GOOD_RESPONSES)
def test_response_sent_as_a_request_is_malformed(name: str) -> None:
    """A response is no request."""
    assert responder().answer(vector(name), NOW).status is OCSPResponseStatus.MALFORMED_REQUEST


@pytest.mark.parametrize("name", GOOD_RESPONSES)
def test_response_vector_is_read(name: str) -> None:
    """The client reads the status and agrees with an independent reader."""
    response = parse_response(vector(name))
    assert response.basic is not None
    assert response.basic.singles[0].status is GOOD_RESPONSES[name]
    theirs = next(iter(ocsp.load_der_ocsp_response(vector(name)).responses))
    assert theirs.certificate_status.name.lower() == GOOD_RESPONSES[name]
    assert int(theirs.this_update_utc.timestamp()) == response.basic.singles[0].this_update


def test_response_vector_with_reason_tells_it() -> None:
    """Revocation time and reason are read."""
    basic = parse_response(vector("resp-revoked-reason")).basic
    assert basic is not None
    assert basic.singles[0].reason is Reason.SUPERSEDED
    assert basic.singles[0].revocation_time


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_response_vector_with_an_error_is_refused(name: str) -> None:
    """The client says what is wrong with a response that it cannot use."""
    with pytest.raises(ClientError, match=BAD_RESPONSES[name]):
        parse_response(vector(name))


@pytest.mark.parametrize("name", ERROR_RESPONSES)
def test_error_response_vector_is_read(name: str) -> None:
    """An OCSP error has a status and nothing else."""
    response = parse_response(vector(name))
    assert (response.status, response.basic) == (ERROR_RESPONSES[name], None)


def test_every_vector_has_an_expectation() -> None:
    """A vector that a new release brings is not passed over in silence."""
    expected = GOOD_REQUESTS | BAD_REQUESTS | GOOD_RESPONSES | BAD_RESPONSES | ERROR_RESPONSES
    assert {path.stem for path in OCSP.glob("*.der")} == expected.keys()


def test_request_of_own_ca_is_answered() -> None:
    """The responder used here does answer for its own CA, so that `unauthorized` above means something."""
    assert responder().answer(requests()[1], NOW).cert_statuses == (CertStatus.REVOKED,)
