"""OCSPResponse (RFC 6960 section 4.2): decisions -> SingleResponse -> ResponseData -> signed response, as DER.

The pieces that a request's nonce does not touch are made once and joined; nothing here reads a clock.
"""

from __future__ import annotations

from cryptography import x509

from vouchd.core.facts import AuthorityPolicy, CertStatus
from vouchd.core.status import Decision
from vouchd.core.times import Times
from vouchd.errors import OCSPResponseStatus
from vouchd.pkix import certs, der
from vouchd.pkix.ocsp import BASIC_RESPONSE
from vouchd.pkix.reasons import Reason, RevocationEntry

_GOOD, _UNKNOWN = der.tlv(0x80), der.tlv(0x82)
_BASIC_OID = der.tlv(der.OID, BASIC_RESPONSE)
_SUCCESSFUL = der.tlv(der.ENUMERATED, b"\x00")
_CRL_ID, _ARCHIVE_CUTOFF = "1.3.6.1.5.5.7.48.1.3", "1.3.6.1.5.5.7.48.1.6"
_INVALIDITY_DATE = "2.5.29.24"
GENERALIZED_TIME_OCTETS = 17  # with tag and length

ERROR_RESPONSES: dict[OCSPResponseStatus, bytes] = {
    status: der.tlv(der.SEQUENCE, der.tlv(der.ENUMERATED, bytes((status,))))
    for status in OCSPResponseStatus
    if status is not OCSPResponseStatus.SUCCESSFUL
}


def extension(oid: str, value: bytes) -> bytes:
    """A non-critical Extension with `value` (DER) in extnValue."""
    return der.tlv(der.SEQUENCE, der.oid_tlv(oid), der.tlv(der.OCTET_STRING, value))


# RFC 6960 section 4.4.8: tells that the extended definition of `revoked` was used.
EXTENDED_REVOKE = extension("1.3.6.1.5.5.7.48.1.9", der.tlv(der.NULL))


def responder_id(certificate: x509.Certificate, *, by_name: bool) -> bytes:
    """ResponderID by name, or by key: SHA-1 of the subjectPublicKey value."""
    if by_name:
        return der.tlv(0xA1, certs.subject_der(certificate))
    return der.tlv(0xA2, der.tlv(der.OCTET_STRING, certs.key_hash(certificate)))


def single_response(cert_id_der: bytes, statement: bytes) -> bytes:
    """SingleResponse for one CertID, echoed byte for byte."""
    return der.tlv(der.SEQUENCE, cert_id_der, statement)


def statement_of(decision: Decision, policy: AuthorityPolicy, times: Times, *, reasons: bool) -> bytes:
    """What follows the CertID in a SingleResponse: the elements, concatenated; `reasons`: why it was revoked, too."""
    # RFC 6960 section 2.2: `revoked` in its extended definition MUST have its reason.
    parts = [_cert_status(decision, reasons=reasons or decision.non_issued), der.generalized_time(times.this_update)]
    if times.next_update is not None:
        parts.append(der.tlv(0xA0, der.generalized_time(times.next_update)))
    extensions = _single_extensions(decision, policy, times.produced_at)
    if extensions:
        parts.append(der.tlv(0xA1, der.tlv(der.SEQUENCE, *extensions)))
    return b"".join(parts)


def unknown_statement(this_update: int) -> bytes:
    """The same where the issuer is not ours."""
    return _UNKNOWN + der.generalized_time(this_update)


def response_data(
    responder: bytes, responses: list[bytes], extensions: bytes, nonce_size: int
) -> tuple[bytes, bytes, bytes]:
    """DER of ResponseData in three parts, but for producedAt after the first and a nonce Extension after the last.

    The second one is the SingleResponses. `extensions` are the concatenated Extension elements before the nonce, which
    has `nonce_size` octets (0: none).
    """
    singles, rest = der.tlv(der.SEQUENCE, *responses), b""
    size = len(extensions) + nonce_size
    if size:
        inner = der.header(der.SEQUENCE, size)
        rest = der.header(0xA1, len(inner) + size) + inner + extensions
    total = len(responder) + GENERALIZED_TIME_OCTETS + len(singles) + len(rest) + nonce_size
    return der.header(der.SEQUENCE, total) + responder, singles, rest


def certs_field(chain_der: tuple[bytes, ...]) -> bytes:
    """The certs field of BasicOCSPResponse, empty when no certificate is sent along."""
    return der.tlv(0xA0, der.tlv(der.SEQUENCE, *chain_der)) if chain_der else b""


def envelope(tbs_size: int, identifier_der: bytes, signature_size: int, certs_der: bytes) -> tuple[bytes, bytes]:
    """What stands in a successful OCSPResponse before the ResponseData, and between it and the signature octets.

    After the signature only `certs_der` follows. Both depend on nothing but sizes, so they are made once.
    """
    between = identifier_der + der.header(der.BIT_STRING, signature_size + 1) + b"\x00"
    size = content = tbs_size + len(between) + signature_size + len(certs_der)
    head = b""
    for tag, before in ((der.SEQUENCE, b""), (der.OCTET_STRING, _BASIC_OID), (der.SEQUENCE, b""), (0xA0, _SUCCESSFUL)):
        head = before + der.header(tag, size) + head
        size = content + len(head)
    return der.header(der.SEQUENCE, size) + head, between


def _cert_status(decision: Decision, *, reasons: bool) -> bytes:
    if decision.status is CertStatus.GOOD:
        return _GOOD
    if decision.entry is None:
        return _UNKNOWN
    return _revoked(decision.entry, reasons=reasons)


def _revoked(entry: RevocationEntry, *, reasons: bool) -> bytes:
    """RevokedInfo; `unspecified` is left out as RFC 5280 section 5.3.1 asks, which means the same."""
    when = der.generalized_time(entry.revocation_time)
    if not reasons or entry.reason in {Reason.ABSENT, Reason.UNSPECIFIED}:
        return der.tlv(0xA1, when)
    return der.tlv(0xA1, when, der.tlv(0xA0, der.tlv(der.ENUMERATED, bytes((entry.reason,)))))


def _single_extensions(decision: Decision, policy: AuthorityPolicy, produced_at: int) -> list[bytes]:
    extensions = []
    # RFC 6960 section 2.2: no reference to a CRL with what no CRL says.
    if policy.crl_reference and decision.points and not decision.non_issued:
        extensions.append(extension(_CRL_ID, _crl_id(decision)))
    if policy.archive_cutoff_seconds is not None:
        cutoff = max(produced_at - policy.archive_cutoff_seconds, 0)
        extensions.append(extension(_ARCHIVE_CUTOFF, der.generalized_time(cutoff)))
    if policy.invalidity_date and decision.entry is not None and decision.entry.invalidity_date is not None:
        extensions.append(extension(_INVALIDITY_DATE, der.generalized_time(decision.entry.invalidity_date)))
    return extensions


def _crl_id(decision: Decision) -> bytes:
    """CrlID (RFC 6960 section 4.4.2): number and time of the CRL that was concluded from; the oldest of several."""
    record = min((point.epoch.newest for point in decision.points), key=lambda crl: crl.this_update)
    number = der.tlv(0xA1, der.integer_tlv(record.crl_number)) if record.crl_number is not None else b""
    return der.tlv(der.SEQUENCE, number, der.tlv(0xA2, der.generalized_time(record.this_update)))
