"""CertificateList of RFC 5280 section 5: its header as one value, its entries as a stream, never all in one list.

A header costs microseconds whatever the size of the CRL; the entries are looked at only by `entries` and
`packed_entries` of `core.crlentries`, which are named here as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vouchd.errors import CRLRejected
from vouchd.pkix import der
from vouchd.pkix.der import Buffer
from vouchd.pkix.extensions import Extension, read_extensions
from vouchd.pkix.scope import Scope

MAX_CRL_BYTES = 2**31 - 1
MAX_SIGNATURE_BYTES = 65536
MAX_NAME_BYTES = 65536
MAX_NUMBER_OCTETS = 20  # RFC 5280 section 5.2.3

AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, DELTA_CRL_INDICATOR, ISSUING_DISTRIBUTION_POINT = (
    "2.5.29.35",
    "2.5.29.20",
    "2.5.29.27",
    "2.5.29.28",
)
MICROSOFT_CA_VERSION = "1.3.6.1.4.1.311.21.1"  # szOID_CERTSRV_CA_VERSION: key index << 16 | certificate index
# What names the issuer once more, or says where deltas are, changes nothing of what the CRL lists: critical or not.
_PASSED_OVER: Final = frozenset({"2.5.29.18", "2.5.29.46"})
_EXTENSIONS_TAG = 0xA0
_TIMES: Final = (der.UTC_TIME, der.GENERALIZED_TIME)


class Span(NamedTuple):
    """Offsets into the DER of the CRL."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CRLHeader:
    """Everything of a CRL but its entries.

    `signature_algorithm_der` is the AlgorithmIdentifier with its tag and length. `tbs` spans what is signed, `entries`
    the content of revokedCertificates (empty when there are none). `crl_number` and `authority_key_id` (keyIdentifier)
    are None where the CRL does not say; `base_crl_number` is set for a delta CRL only. `key_index` is set where the CA
    issues a CRL for each of its keys, which speaks of nothing but what that key has issued: Microsoft's does and says
    so in an extension of its own, whose upper half counts the CA's keys from 0.
    """

    version: int
    issuer_name_der: bytes
    this_update: int
    next_update: int | None
    signature_algorithm_der: bytes
    signature: bytes
    tbs: Span
    entries: Span
    crl_number: int | None = None
    base_crl_number: int | None = None
    authority_key_id: bytes | None = None
    scope: Scope = field(default_factory=Scope)
    key_index: int | None = None

    @property
    def is_delta(self) -> bool:
        """Whether this is a delta CRL (RFC 5280 section 5.2.4)."""
        return self.base_crl_number is not None

    @property
    def point_scope_id(self) -> str:
        """The scope id of its issuing point: that of its scope; from the CA's second key on each key has its own."""
        if not self.key_index:
            return self.scope.scope_id
        return hashlib.sha256(f"{self.scope.scope_id} key {self.key_index}".encode()).hexdigest()


def read_header(crl: Buffer) -> CRLHeader:
    """The header of DER of a CertificateList, version 1 or 2, of at most 2 GiB; `crl` may be a memory map's view.

    Nothing is verified but the structure: `core.acceptance` judges what it says.

    Raises: CRLRejected when it is no DER of a CertificateList, has an unknown critical extension, or breaks a limit.
    """
    if len(crl) > MAX_CRL_BYTES:
        raise CRLRejected(f"the CRL has {len(crl)} bytes, more than {MAX_CRL_BYTES}", hint="publish partitioned CRLs")
    try:
        return _header(crl)
    except ValueError as error:
        hint = "give DER of an X.509 CRL; `openssl crl -inform DER -in FILE -noout -text` reads one"
        raise CRLRejected(f"not a DER CertificateList: {error}", hint=hint) from error


def _header(crl: Buffer) -> CRLHeader:
    outer = der.whole(crl, der.SEQUENCE)
    tbs = der.expect(crl, outer.start, outer.end, der.SEQUENCE)
    algorithm = der.expect(crl, tbs.end, outer.end, der.SEQUENCE)
    bits = der.expect(crl, algorithm.end, outer.end, der.BIT_STRING)
    if bits.end != outer.end:
        raise ValueError("elements after signatureValue")
    if not 1 < bits.end - bits.start <= MAX_SIGNATURE_BYTES or crl[bits.start] != 0:
        raise ValueError("signatureValue that is not a whole number of octets, empty or too long")
    fields = _TBSReader(crl, tbs)
    version = fields.version()
    inner = fields.take(der.SEQUENCE)
    if der.element(crl, inner) != der.element(crl, algorithm):
        raise ValueError("signatureAlgorithm differs from the signature field of tbsCertList (RFC 5280 5.1.1.2)")
    issuer = fields.take(der.SEQUENCE)
    if not 2 < issuer.end - issuer.begin <= MAX_NAME_BYTES:
        raise ValueError("issuer that is empty or too long (RFC 5280 5.1.2.3)")
    this_update = der.time_seconds(crl, fields.take(*_TIMES))
    next_update = fields.optional(*_TIMES)
    revoked = fields.optional(der.SEQUENCE)
    facts = _crl_extensions(_extensions(crl, fields.optional(_EXTENSIONS_TAG), version))
    fields.done()
    return CRLHeader(
        version=version,
        issuer_name_der=der.element(crl, issuer),
        this_update=this_update,
        next_update=None if next_update is None else der.time_seconds(crl, next_update),
        signature_algorithm_der=der.element(crl, algorithm),
        signature=bytes(crl[bits.start + 1 : bits.end]),
        tbs=Span(tbs.begin, tbs.end),
        entries=Span(tbs.end, tbs.end) if revoked is None else Span(revoked.start, revoked.end),
        crl_number=facts.crl_number,
        base_crl_number=facts.base_crl_number,
        authority_key_id=facts.authority_key_id,
        scope=facts.scope,
        key_index=facts.key_index,
    )


class _TBSReader:
    """Takes the fields of TBSCertList one after the other."""

    def __init__(self, crl: Buffer, tbs: der.TLV) -> None:
        self._crl, self._pos, self._end = crl, tbs.start, tbs.end

    def take(self, *tags: int) -> der.TLV:
        """The next field, which must have one of `tags`. Raises: ValueError."""
        tlv = self.optional(*tags)
        if tlv is None:
            raise ValueError(f"a field of tag {tags[0]:#04x} is missing in tbsCertList")
        return tlv

    def optional(self, *tags: int) -> der.TLV | None:
        """The next field if it has one of `tags`, else None."""
        if self._pos == self._end or self._crl[self._pos] not in tags:
            return None
        tlv = der.read_tlv(self._crl, self._pos, self._end)
        self._pos = tlv.end
        return tlv

    def version(self) -> int:
        """1 when the field is absent, 2 when it says v2; v1 is never spelled out (RFC 5280 5.1.2.1)."""
        tlv = self.optional(der.INTEGER)
        if tlv is None:
            return 1
        if der.integer(self._crl, tlv) != 1:
            raise ValueError("version that is not v2")
        return 2

    def done(self) -> None:
        """Raises: ValueError when fields are left."""
        if self._pos != self._end:
            raise ValueError(f"unexpected field of tag {self._crl[self._pos]:#04x} in tbsCertList")


@dataclass(slots=True)
class _Facts:
    crl_number: int | None = None
    base_crl_number: int | None = None
    authority_key_id: bytes | None = None
    scope: Scope = field(default_factory=Scope)
    key_index: int | None = None


def _extensions(crl: Buffer, tlv: der.TLV | None, version: int) -> tuple[Extension, ...]:
    if tlv is None:
        return ()
    if version != 2:
        raise ValueError("crlExtensions in a version 1 CRL (RFC 5280 5.1.2.7)")
    inner = der.expect(crl, tlv.start, tlv.end, der.SEQUENCE)
    if inner.end != tlv.end:
        raise ValueError("bytes after crlExtensions")
    return read_extensions(crl, inner)


def _crl_extensions(extensions: tuple[Extension, ...]) -> _Facts:
    facts = _Facts()
    for extension in extensions:
        name = der.dotted(extension.oid)
        reader = _READERS.get(name)
        if reader is not None:
            reader(facts, extension.value)
        elif extension.critical and name not in _PASSED_OVER:
            raise CRLRejected(
                f"the CRL has a critical extension that is not supported: {name}",
                hint="RFC 5280 section 5.2 forbids to use such a CRL; ask the CA to make it non-critical",
            )
    return facts


def _number(value: bytes) -> int:
    number = der.integer(value, der.whole(value, der.INTEGER))
    if number < 0 or len(value) - 2 > MAX_NUMBER_OCTETS + 1:
        raise ValueError(f"CRL number that is negative or longer than {MAX_NUMBER_OCTETS} octets")
    return number


def _read_number(facts: _Facts, value: bytes) -> None:
    facts.crl_number = _number(value)


def _read_base_number(facts: _Facts, value: bytes) -> None:
    facts.base_crl_number = _number(value)


def _read_scope(facts: _Facts, value: bytes) -> None:
    facts.scope = Scope.from_idp(value)


def _read_key_id(facts: _Facts, value: bytes) -> None:
    for child in der.children(value, der.whole(value, der.SEQUENCE)):
        if child.tag == 0x80:
            facts.authority_key_id = der.content(value, child)


def _read_ca_version(facts: _Facts, value: bytes) -> None:
    facts.key_index = max(der.integer(value, der.whole(value, der.INTEGER)), 0) >> 16


_READERS: Final[dict[str, Callable[[_Facts, bytes], None]]] = {
    AUTHORITY_KEY_IDENTIFIER: _read_key_id,
    CRL_NUMBER: _read_number,
    DELTA_CRL_INDICATOR: _read_base_number,
    ISSUING_DISTRIBUTION_POINT: _read_scope,
    MICROSOFT_CA_VERSION: _read_ca_version,
}
