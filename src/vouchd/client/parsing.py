"""OCSPResponse DER -> facts (RFC 6960 section 4.2.1), reading all of it and trusting nothing of it.

Strict where a signature or a decision hangs on it; an unknown extension is kept as it is. This file does not verify.
"""

from __future__ import annotations

from vouchd.client.response_facts import (
    BasicResponse,
    CertID,
    Extension,
    OCSPResponse,
    SingleResponse,
    algorithm_name,
)
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, OCSPResponseStatus
from vouchd.pkix import der
from vouchd.pkix.extensions import read_extensions
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import digest_name

_BASIC = der.oid_octets("1.3.6.1.5.5.7.48.1.1")


def parse_response(data: bytes) -> OCSPResponse:
    """The facts of an OCSPResponse in DER. Raises: ClientError when it is none, or of another type than basic."""
    try:
        return _response(data)
    except (ValueError, StopIteration) as error:
        raise ClientError(f"not an OCSP response: {error or 'a field is missing'}") from error


class _Fields:
    """The elements of one SEQUENCE, taken in order."""

    __slots__ = ("_data", "_end", "_next")

    def __init__(self, data: bytes, parent: der.TLV) -> None:
        self._data, self._next, self._end = data, parent.start, parent.end

    def take(self, *tags: int) -> der.TLV:
        """The next element, of one of `tags`."""
        element = der.read_tlv(self._data, self._next, self._end) if self._next < self._end else None
        if element is None or element.tag not in tags:
            actual = f"{element.tag:#04x}" if element else "the end"
            raise ValueError(f"{actual} where {' or '.join(f'{tag:#04x}' for tag in tags)} belongs")
        self._next = element.end
        return element

    def optional(self, tag: int) -> der.TLV | None:
        """The next element when it has `tag`, else None."""
        return self.take(tag) if self._next < self._end and self._data[self._next] == tag else None

    def end(self) -> None:
        """Refuse what is left."""
        if self._next < self._end:
            raise ValueError(f"unexpected element {self._data[self._next]:#04x}")


def _inner(data: bytes, explicit: der.TLV, tag: int) -> der.TLV:
    """The one element inside an EXPLICIT tag."""
    inner = der.expect(data, explicit.start, explicit.end, tag)
    if inner.end != explicit.end:
        raise ValueError("more than one element inside an explicit tag")
    return inner


def _response(data: bytes) -> OCSPResponse:
    top = _Fields(data, der.whole(data, der.SEQUENCE))
    number = der.integer(data, top.take(der.ENUMERATED))
    explicit = top.optional(0xA0)
    top.end()
    try:
        status = OCSPResponseStatus(number)
    except ValueError:
        raise ValueError(f"response status {number} is not one of RFC 6960") from None
    if explicit is None:
        if status is OCSPResponseStatus.SUCCESSFUL:
            raise ValueError("status successful without a response")
        return OCSPResponse(data, status, None)
    body = _Fields(data, _inner(data, explicit, der.SEQUENCE))
    kind = der.content(data, body.take(der.OID))
    octets = der.content(data, body.take(der.OCTET_STRING))
    body.end()
    if kind != _BASIC:
        raise ValueError(f"response type {der.dotted(kind)} is not id-pkix-ocsp-basic")
    return OCSPResponse(data, status, _basic(octets) if status is OCSPResponseStatus.SUCCESSFUL else None)


def _basic(data: bytes) -> BasicResponse:
    top = _Fields(data, der.whole(data, der.SEQUENCE))
    response_data = top.take(der.SEQUENCE)
    algorithm = top.take(der.SEQUENCE)
    signature = der.content(data, top.take(der.BIT_STRING))
    certs = top.optional(0xA0)
    top.end()
    algorithm_name(der.element(data, algorithm))
    if signature[:1] != b"\x00":
        raise ValueError("signature that is not whole octets")
    certificates: tuple[bytes, ...] = ()
    if certs is not None:
        elements = der.children(data, _inner(data, certs, der.SEQUENCE))
        certificates = tuple(der.element(data, element) for element in elements)
    fields = _Fields(data, response_data)
    version = fields.optional(0xA0)
    if version is not None and der.integer(data, _inner(data, version, der.INTEGER)) != 0:
        raise ValueError("response version that is not v1")
    responder = fields.take(0xA1, 0xA2)
    produced_at = der.time_seconds(data, fields.take(der.GENERALIZED_TIME))
    singles = tuple(_single(data, tlv) for tlv in der.children(data, fields.take(der.SEQUENCE)))
    extensions = _extensions(data, fields.optional(0xA1))
    fields.end()
    by_key = responder.tag == 0xA2
    return BasicResponse(
        response_data_der=der.element(data, response_data),
        responder_name_der=None if by_key else der.element(data, _inner(data, responder, der.SEQUENCE)),
        responder_key_hash=der.content(data, _inner(data, responder, der.OCTET_STRING)) if by_key else None,
        produced_at=produced_at,
        singles=singles,
        extensions=extensions,
        algorithm_der=der.element(data, algorithm),
        signature=signature[1:],
        certificates=certificates,
    )


def _single(data: bytes, parent: der.TLV) -> SingleResponse:
    fields = _Fields(data, parent)
    cert_id = _cert_id(data, fields.take(der.SEQUENCE))
    status = fields.take(0x80, 0xA1, 0x82)
    this_update = der.time_seconds(data, fields.take(der.GENERALIZED_TIME))
    next_update = fields.optional(0xA0)
    extensions = _extensions(data, fields.optional(0xA1))
    fields.end()
    revocation_time, reason = None, None
    if status.tag == 0xA1:
        revoked = _Fields(data, status)
        revocation_time = der.time_seconds(data, revoked.take(der.GENERALIZED_TIME))
        explicit = revoked.optional(0xA0)
        revoked.end()
        reason = Reason.ABSENT
        if explicit is not None:
            reason = Reason(der.integer(data, _inner(data, explicit, der.ENUMERATED)))
    elif status.start != status.end:
        raise ValueError("CertStatus that is not NULL")
    return SingleResponse(
        cert_id=cert_id,
        status={0x80: CertStatus.GOOD, 0xA1: CertStatus.REVOKED, 0x82: CertStatus.UNKNOWN}[status.tag],
        this_update=this_update,
        next_update=None
        if next_update is None
        else der.time_seconds(data, _inner(data, next_update, der.GENERALIZED_TIME)),
        revocation_time=revocation_time,
        reason=reason,
        extensions=extensions,
    )


def _cert_id(data: bytes, parent: der.TLV) -> CertID:
    fields = _Fields(data, parent)
    algorithm = fields.take(der.SEQUENCE)
    name_hash = der.content(data, fields.take(der.OCTET_STRING))
    key_hash = der.content(data, fields.take(der.OCTET_STRING))
    serial = der.integer_octets(data, fields.take(der.INTEGER))
    fields.end()
    digest = digest_name(der.element(data, algorithm))
    if digest is None:
        digest = der.dotted(der.content(data, _Fields(data, algorithm).take(der.OID)))
    return CertID(digest, name_hash, key_hash, serial)


def _extensions(data: bytes, explicit: der.TLV | None) -> tuple[Extension, ...]:
    if explicit is None:
        return ()
    extensions = read_extensions(data, _inner(data, explicit, der.SEQUENCE))
    return tuple(Extension(der.dotted(one.oid), one.critical, one.value) for one in extensions)
