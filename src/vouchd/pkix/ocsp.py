"""OCSPRequest (RFC 6960 section 4.1): DER -> CertIDs, nonce, extensions, signature. Strict, and raw where it is echoed.

The size of a request is the caller's to limit; the number of CertIDs and extensions is limited here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vouchd.errors import MalformedRequest
from vouchd.pkix import der
from vouchd.pkix.extensions import Extension, read_extensions
from vouchd.pkix.signatures import DIGESTS, digest_name

NONCE = der.oid_octets("1.3.6.1.5.5.7.48.1.2")
ACCEPTABLE_RESPONSES = der.oid_octets("1.3.6.1.5.5.7.48.1.4")
SERVICE_LOCATOR = der.oid_octets("1.3.6.1.5.5.7.48.1.7")
PREFERRED_SIGNATURE_ALGORITHMS = der.oid_octets("1.3.6.1.5.5.7.48.1.8")
BASIC_RESPONSE = der.oid_octets("1.3.6.1.5.5.7.48.1.1")

MAX_EXTENSIONS = 20
MAX_NONCE = 128  # RFC 9654 section 2.1
MAX_SERIAL = 64  # RFC 5280 allows 20 octets; some CAs went above
MAX_CERTIFICATES = 10

_CRITICAL_KNOWN = frozenset({NONCE, ACCEPTABLE_RESPONSES, SERVICE_LOCATOR, PREFERRED_SIGNATURE_ALGORITHMS})


class CertID(NamedTuple):
    """One CertID: its DER as sent, and what it is matched by.

    `digest` is None for a digest that is not supported. `issuer` is the issuer name hash followed by the key hash.
    """

    der: bytes
    digest: str | None
    issuer: bytes
    serial: bytes


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """The optionalSignature of a request; `certs_der` as sent, not verified."""

    tbs_der: bytes
    identifier_der: bytes
    signature: bytes
    certs_der: tuple[bytes, ...]


class OCSPRequest(NamedTuple):
    """A decoded request; `nonce` is the nonce's octets and `nonce_der` the Extension that is echoed.

    `preferred` are AlgorithmIdentifiers (DER) in the client's order. `unusual` says that it holds what its client chose
    freely (a name, a signature, an extension without meaning here), so that the same one will hardly come again.
    """

    cert_ids: tuple[CertID, ...]
    nonce: bytes | None
    nonce_der: bytes
    preferred: tuple[bytes, ...]
    has_requestor: bool
    signature: RequestSignature | None
    unusual: bool = False


def parse_request(data: bytes, *, max_cert_ids: int = 100) -> OCSPRequest:
    """The request in DER. Raises: MalformedRequest with the reason."""
    try:
        return _parse(data, max_cert_ids)
    except ValueError as exc:
        raise MalformedRequest(f"not an OCSPRequest: {exc}") from exc


def _parse(data: bytes, max_cert_ids: int) -> OCSPRequest:
    tbs, *rest = der.children(data, der.whole(data, der.SEQUENCE))
    if tbs.tag != der.SEQUENCE or len(rest) > 1:
        raise ValueError("no TBSRequest")
    fields = list(der.children(data, tbs))
    if fields and fields[0].tag == 0xA0 and der.integer(data, _only(data, fields.pop(0), der.INTEGER)) != 0:
        raise ValueError("version that is not v1")
    has_requestor = bool(fields) and fields[0].tag == 0xA1
    if has_requestor:
        _general_name(data, fields.pop(0))
    if not fields or fields[0].tag != der.SEQUENCE:
        raise ValueError("no requestList")
    requests = tuple(_requests(data, fields.pop(0), max_cert_ids))
    extensions: dict[bytes, Extension] = {}
    if fields and fields[0].tag == 0xA2:
        extensions = _extensions(data, fields.pop(0))
    if fields:
        raise ValueError("element that does not belong in TBSRequest")
    _acceptable_responses(extensions)
    nonce = extensions.get(NONCE)
    return OCSPRequest(
        cert_ids=tuple([cert_id for cert_id, _ in requests]),
        nonce=_nonce(nonce.value) if nonce else None,
        nonce_der=nonce.der if nonce else b"",
        preferred=_preferred(extensions),
        has_requestor=has_requestor,
        signature=_signature(data, der.element(data, tbs), rest[0]) if rest else None,
        unusual=has_requestor or bool(rest) or _odd(extensions) or any(odd for _, odd in requests),
    )


def _odd(extensions: dict[bytes, Extension]) -> bool:
    return not extensions.keys() <= _CRITICAL_KNOWN


def _only(data: bytes, wrapper: der.TLV, tag: int) -> der.TLV:
    """The one element inside an EXPLICIT tag."""
    inner = der.expect(data, wrapper.start, wrapper.end, tag)
    if inner.end != wrapper.end:
        raise ValueError("more than one element inside an explicit tag")
    return inner


def _general_name(data: bytes, wrapper: der.TLV) -> None:
    """Check that requestorName is one GeneralName; which one is nobody's business here."""
    inner = der.read_tlv(data, wrapper.start, wrapper.end)
    if inner.end != wrapper.end or inner.tag & 0xC0 != 0x80:
        raise ValueError("requestorName that is no GeneralName")


def _requests(data: bytes, request_list: der.TLV, max_cert_ids: int) -> Iterator[tuple[CertID, bool]]:
    """Each CertID, and whether something unusual is said with it."""
    count = 0
    for request in der.children(data, request_list):
        count += 1
        if count > max_cert_ids:
            raise ValueError(f"more than {max_cert_ids} CertIDs")
        if request.tag != der.SEQUENCE:
            raise ValueError("requestList with something else than Request")
        cert_id, *rest = der.children(data, request)
        odd = False
        if rest:
            if rest[0].tag != 0xA0 or len(rest) > 1:
                raise ValueError("element that does not belong in Request")
            odd = _odd(_extensions(data, rest[0]))
        yield _cert_id(data, cert_id), odd
    if not count:
        raise ValueError("empty requestList")


def _cert_id(data: bytes, outer: der.TLV) -> CertID:
    if outer.tag != der.SEQUENCE:
        raise ValueError("no CertID")
    algorithm, name_hash, key_hash, serial = _four(data, outer)
    if algorithm.tag != der.SEQUENCE or name_hash.tag != der.OCTET_STRING or key_hash.tag != der.OCTET_STRING:
        raise ValueError("CertID with elements of a wrong type")
    digest = digest_name(der.element(data, algorithm))
    name, key = der.content(data, name_hash), der.content(data, key_hash)
    if digest is not None and not len(name) == len(key) == DIGESTS[digest].digest_size:
        raise ValueError("hash in CertID that is not of its algorithm's size")
    octets = der.integer_octets(data, serial)
    if serial.tag != der.INTEGER or len(octets) > MAX_SERIAL:
        raise ValueError(f"serialNumber of more than {MAX_SERIAL} octets")
    return CertID(der.element(data, outer), digest, name + key, octets)


def _four(data: bytes, outer: der.TLV) -> list[der.TLV]:
    parts = list(der.children(data, outer))
    if len(parts) != 4:
        raise ValueError("CertID that has not four elements")
    return parts


def _extensions(data: bytes, wrapper: der.TLV) -> dict[bytes, Extension]:
    """Extensions by OID; a critical one that is not known is an error.

    An empty list, which Bouncy Castle sends where it has nothing to say, is none (RFC 5280 section 4.1 wants one or
    more; openssl takes it so too).
    """
    inner = _only(data, wrapper, der.SEQUENCE)
    if inner.start == inner.end:
        return {}
    extensions = read_extensions(data, inner)
    if len(extensions) > MAX_EXTENSIONS:
        raise ValueError(f"more than {MAX_EXTENSIONS} extensions")
    for extension in extensions:
        if extension.critical and extension.oid not in _CRITICAL_KNOWN:
            raise ValueError(f"critical extension {der.dotted(extension.oid)} is not known")
    return {extension.oid: extension for extension in extensions}


def _nonce(value: bytes) -> bytes:
    """Nonce ::= OCTET STRING (SIZE (1..128)), inside extnValue (RFC 9654 section 2.1)."""
    octets = der.content(value, der.whole(value, der.OCTET_STRING))
    if not 1 <= len(octets) <= MAX_NONCE:
        raise ValueError(f"nonce of {len(octets)} octets, where 1 to {MAX_NONCE} are allowed")
    return octets


def _acceptable_responses(extensions: dict[bytes, Extension]) -> None:
    """A client that names response types has to name the basic one (RFC 6960 section 4.4.3)."""
    extension = extensions.get(ACCEPTABLE_RESPONSES)
    if extension is None:
        return
    value = extension.value
    types = [der.content(value, item) for item in der.children(value, der.whole(value, der.SEQUENCE))]
    if BASIC_RESPONSE not in types:
        raise ValueError("acceptable responses without id-pkix-ocsp-basic")


def _preferred(extensions: dict[bytes, Extension]) -> tuple[bytes, ...]:
    """AlgorithmIdentifiers of PreferredSignatureAlgorithms (RFC 6960 section 4.4.7.1)."""
    extension = extensions.get(PREFERRED_SIGNATURE_ALGORITHMS)
    if extension is None:
        return ()
    value = extension.value
    preferred = []
    for item in der.children(value, der.whole(value, der.SEQUENCE)):
        preferred.append(der.element(value, der.expect(value, item.start, item.end, der.SEQUENCE)))
        if item.tag != der.SEQUENCE or len(preferred) > MAX_EXTENSIONS:
            raise ValueError("PreferredSignatureAlgorithms that are too many or of a wrong type")
    return tuple(preferred)


def _signature(data: bytes, tbs_der: bytes, wrapper: der.TLV) -> RequestSignature:
    if wrapper.tag != 0xA0:
        raise ValueError("element that does not belong in OCSPRequest")
    parts = list(der.children(data, _only(data, wrapper, der.SEQUENCE)))
    if len(parts) not in {2, 3} or [p.tag for p in parts[:2]] != [der.SEQUENCE, der.BIT_STRING]:
        raise ValueError("no Signature")
    bits = der.content(data, parts[1])
    if not bits or bits[0]:
        raise ValueError("signature that is not whole octets")
    certs: tuple[bytes, ...] = ()
    if len(parts) == 3:
        if parts[2].tag != 0xA0:
            raise ValueError("element that does not belong in Signature")
        listed = list(der.children(data, _only(data, parts[2], der.SEQUENCE)))
        if len(listed) > MAX_CERTIFICATES:
            raise ValueError(f"more than {MAX_CERTIFICATES} certificates")
        certs = tuple(der.element(data, item) for item in listed)
    return RequestSignature(tbs_der, der.element(data, parts[0]), bits[1:], certs)
