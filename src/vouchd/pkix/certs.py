"""What a certificate says of itself to a responder: issuer hashes, and who may sign for whom (RFC 6960 4.2.2.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from vouchd.errors import SigningError
from vouchd.pkix import names
from vouchd.pkix.memo import at_hand, memo, put_at_hand, shared
from vouchd.pkix.signatures import verify

E = TypeVar("E", bound=x509.ExtensionType)

_REMEMBERED = 1 << 15
_AT_HAND = 1 << 8  # certificates: of each several things are wanted, one after the other
_issued: dict[bytes, bool] = {}  # by the SHA-256 of a certificate and of its issuer's

DIGEST_FUNCTIONS = {
    "SHA-1": partial(hashlib.sha1, usedforsecurity=False),
    "SHA-256": partial(hashlib.sha256, usedforsecurity=False),
    "SHA-384": partial(hashlib.sha384, usedforsecurity=False),
    "SHA-512": partial(hashlib.sha512, usedforsecurity=False),
}


UNREADABLE = "(a name that cannot be read)"


@lru_cache(maxsize=_AT_HAND)  # what is done with a CA or signer asks for its certificate again and again
def load_certificate(certificate_der: bytes) -> x509.Certificate:
    """The certificate in DER. Raises: ValueError."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
    except (ValueError, TypeError, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as exc:
        raise ValueError("no X.509 certificate in DER") from exc
    put_at_hand(der_of, certificate_der, certificate)
    return certificate


@at_hand(_AT_HAND)
def der_of(certificate: x509.Certificate) -> bytes:
    """Its DER, which the library would encode anew each time."""
    return certificate.public_bytes(Encoding.DER)


def public_key(certificate: x509.Certificate) -> PublicKeyTypes:
    """Its public key, one object for all certificates of that key. Raises: ValueError; UnsupportedAlgorithm."""
    return _public_key(_fields(certificate).key_info)


@lru_cache(maxsize=1 << 4)  # a signer's, which many CAs may have certified
def _public_key(key_info_der: bytes) -> PublicKeyTypes:
    return load_der_public_key(key_info_der)


def name_text(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 has it; UNREADABLE where it cannot be read, which shows when it is looked at only."""
    return _text(lambda: certificate.subject)


def issuer_name_text(certificate: x509.Certificate) -> str:
    """The issuer, likewise."""
    return _text(lambda: certificate.issuer)


def _text(name: Callable[[], x509.Name]) -> str:
    try:
        return name().rfc4514_string()
    except (ValueError, TypeError, AttributeError):  # strings and OIDs that are none, to the library
        return UNREADABLE


def subject_der(certificate: x509.Certificate) -> bytes:
    """DER of the subject Name, byte for byte as the certificate has it."""
    return _fields(certificate).subject


def issuer_der(certificate: x509.Certificate) -> bytes:
    """DER of the issuer Name, byte for byte as the certificate has it."""
    return _fields(certificate).issuer


def serial_octets(certificate: x509.Certificate) -> bytes:
    """Content octets of the serialNumber INTEGER."""
    return _fields(certificate).serial


def public_key_bits(certificate: x509.Certificate) -> bytes:
    """Value of subjectPublicKey, without tag, length and number of unused bits: what issuerKeyHash is over.

    Taken from the certificate as it stands: encoding the key again would change a compressed EC point.
    """
    return _fields(certificate).key_bits


def key_hash(certificate: x509.Certificate) -> bytes:
    """KeyHash of ResponderID: SHA-1 of the subjectPublicKey value (RFC 6960 section 4.2.1)."""
    return DIGEST_FUNCTIONS["SHA-1"](public_key_bits(certificate)).digest()


def issuer_hashes(certificate: x509.Certificate, digest: str) -> tuple[bytes, bytes]:
    """Issuer name hash and key hash of CertIDs for what this CA issued; `digest` as in DIGEST_FUNCTIONS."""
    function = DIGEST_FUNCTIONS[digest]
    return function(subject_der(certificate)).digest(), function(public_key_bits(certificate)).digest()


def issuer_hash(name_der: bytes, key_bits: bytes, digest: str) -> bytes:
    """Issuer name hash and key hash of CertIDs, one after the other, for this spelling of a name and this key."""
    function = DIGEST_FUNCTIONS[digest]
    return function(name_der).digest() + function(key_bits).digest()


@memo(_REMEMBERED)
def name_and_key(certificate_der: bytes) -> tuple[bytes, bytes]:
    """The subject Name (DER) and the public key bits of a certificate in DER: what issuer hashes are over.

    Raises: ValueError.
    """
    certificate = load_certificate(certificate_der)
    return subject_der(certificate), public_key_bits(certificate)


class Naming(NamedTuple):
    """How a certificate is told from others: issuer and subject as `names.canonical` has them, and `serial_octets`."""

    issuer: bytes
    subject: bytes
    serial: bytes


@memo(_REMEMBERED)
def naming(certificate_der: bytes) -> Naming:
    """That of a certificate in DER. Raises: ValueError."""
    certificate = load_certificate(certificate_der)
    issuer, subject = names.canonical(issuer_der(certificate)), names.canonical(subject_der(certificate))
    return Naming(issuer, subject, serial_octets(certificate))


@memo(_REMEMBERED)
def key_id(certificate_der: bytes) -> str:
    """`key_id_of` the key in a certificate in DER."""
    return key_id_of(name_and_key(certificate_der)[1])


def key_id_of(key_bits: bytes) -> str:
    """SHA-256 (hex) of public key bits: one key has one, whatever certifies it."""
    return shared(hashlib.sha256(key_bits).hexdigest())


def authority_id(certificate: x509.Certificate) -> str:
    """SHA-256 (hex) of subject Name DER followed by the public key bits: the id of an Authority."""
    return hashlib.sha256(subject_der(certificate) + public_key_bits(certificate)).hexdigest()


@at_hand(_AT_HAND)
def not_before(certificate: x509.Certificate) -> int:
    """POSIX seconds of notBefore."""
    return int(certificate.not_valid_before_utc.timestamp())


@at_hand(_AT_HAND)
def not_after(certificate: x509.Certificate) -> int:
    """POSIX seconds of notAfter."""
    return int(certificate.not_valid_after_utc.timestamp())


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the names chain and the signature verifies with the issuer's key.

    Found out once of the same two: a start asks many times of each signer and its CA.
    """
    pair = _fingerprint(certificate) + _fingerprint(issuer)
    known = _issued.get(pair)
    if known is None:
        known = _is_issued_by(certificate, issuer)
        if len(_issued) >= _REMEMBERED:
            _issued.clear()
        _issued[pair] = known
    return known


@at_hand(_AT_HAND)
def _fingerprint(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(der_of(certificate)).digest()


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if not names.same(issuer_der(certificate), subject_der(issuer)):
        return False
    try:
        verify(
            public_key(issuer),
            _fields(certificate).signature,
            certificate.signature,
            certificate.tbs_certificate_bytes,
        )
    except ValueError:
        return False
    return True


def is_self_signed(certificate_der: bytes) -> bool:
    """Whether it is a root: its own issuer."""
    certificate = load_certificate(certificate_der)
    return is_issued_by(certificate, certificate)


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """The value of its extension of that kind, None when there is none. Raises: ValueError."""
    for one in certificate.extensions:
        if one.oid == kind.oid and isinstance(one.value, kind):
            return one.value
    return None


def has_ocsp_signing(certificate: x509.Certificate) -> bool:
    """Whether extendedKeyUsage holds id-kp-OCSPSigning."""
    try:
        usage = extension(certificate, x509.ExtendedKeyUsage)
    except ValueError:
        return False
    return usage is not None and ExtendedKeyUsageOID.OCSP_SIGNING in usage


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether its keyUsage, where it has one, allows digitalSignature (RFC 5280 section 4.2.1.3)."""
    try:
        usage = extension(certificate, x509.KeyUsage)
    except ValueError:
        return False
    return usage is None or usage.digital_signature


def unknown_critical(certificate: x509.Certificate) -> str:
    """The OID of a critical extension that RFC 5280 does not define, empty when there is none."""
    try:
        every = list(certificate.extensions)
    except ValueError:
        return "one that cannot be read"
    odd = (one for one in every if one.critical and isinstance(one.value, x509.UnrecognizedExtension))
    return next((one.oid.dotted_string for one in odd), "")


def has_nocheck(certificate: x509.Certificate) -> bool:
    """Whether id-pkix-ocsp-nocheck is there (RFC 6960 section 4.2.2.2.1)."""
    try:
        return extension(certificate, x509.OCSPNoCheck) is not None
    except ValueError:
        return False


TRUSTED = "a trusted responder: the CA did not issue it, and clients have to be configured to trust it"


@dataclass(frozen=True, slots=True)
class SignerFitness:
    """Whether a certificate may sign answers for a CA; `own_key` when it is the CA's own."""

    own_key: bool
    warnings: tuple[str, ...]


def check_signer(signer: x509.Certificate, authority: x509.Certificate, at: int) -> SignerFitness:
    """Check that `signer` may answer for `authority` (RFC 6960 section 4.2.2.2): its own key, or a delegated signer.

    Raises: SigningError with what is wrong and how it is mended.
    """
    if at > not_after(signer) or at < not_before(signer):
        raise SigningError(
            f"the signing certificate {signer.subject.rfc4514_string()!r} is not valid now",
            hint="install a current one; see validity with: openssl x509 -noout -dates -in FILE",
        )
    fitness = _fitness(signer, authority)
    if not fitness.own_key and at > not_after(authority):
        raise SigningError(
            f"the certificate of the CA {authority.subject.rfc4514_string()!r} has expired: clients refuse its signers",
            hint="add the CA's renewed certificate, and a signer that it has certified",
        )
    return fitness


@memo(_REMEMBERED)
def signing_end_of(signer_der: bytes, certificates: tuple[bytes, ...], *, trusted: bool = False) -> int | None:
    """The last second in which a signer (DER) may answer for what these certificates (DER) of a CA have issued.

    Its own last one, or that of the CA that has certified it, which clients look at too. None: it may never.
    `trusted`: a responder that clients trust by their own configuration, whoever certified it. Worked out once: a start
    asks of each CA for its self tests, and to sign.
    """
    signer, ends = load_certificate(signer_der), []
    end = not_after(signer)
    for certificate_der in certificates:
        judgement = _judged(signer_der, certificate_der)
        if isinstance(judgement, SignerFitness):
            ends.append(end if judgement.own_key else min(end, not_after(load_certificate(certificate_der))))
    if not ends and trusted and may_sign(signer):
        return end
    return max(ends, default=None)


def _fitness(signer: x509.Certificate, authority: x509.Certificate) -> SignerFitness:
    """What holds at any time. Raises: SigningError."""
    judgement = _judged(der_of(signer), der_of(authority))
    if isinstance(judgement, SignerFitness):
        return judgement
    raise SigningError(judgement.why, hint=judgement.hint)


class _Unfit(NamedTuple):
    why: str
    hint: str


@memo(_REMEMBERED)
def _judged(signer_der: bytes, authority_der: bytes) -> SignerFitness | _Unfit:
    """Judged once: a start asks of each signer of each CA many times, and each judgement verifies a signature."""
    signer, authority = load_certificate(signer_der), load_certificate(authority_der)
    is_namesake = naming(signer_der).subject == naming(authority_der).subject
    if is_namesake and public_key_bits(signer) == public_key_bits(authority):
        return SignerFitness(own_key=True, warnings=())
    if not is_issued_by(signer, authority):
        name = signer.subject.rfc4514_string()
        return _Unfit(
            f"{name!r} was not issued by {authority.subject.rfc4514_string()!r}",
            "its CA issues a delegated signer; one that clients are set to trust is named by --trusted-responder",
        )
    if unfit := _unfit(signer):
        return unfit
    warnings = () if has_nocheck(signer) else ("no id-pkix-ocsp-nocheck: clients will ask for the signer's own status",)
    return SignerFitness(own_key=False, warnings=warnings)


def _unfit(signer: x509.Certificate) -> _Unfit | None:
    """Why it may be nobody's delegated signer."""
    if has_ocsp_signing(signer) and may_sign(signer) and not unknown_critical(signer):
        return None
    name = signer.subject.rfc4514_string()
    if not has_ocsp_signing(signer):
        return _Unfit(
            f"{name!r} is not for OCSP signing", "ask the CA for a certificate with extendedKeyUsage id-kp-OCSPSigning"
        )
    if not may_sign(signer):
        return _Unfit(
            f"the keyUsage of {name!r} lacks digitalSignature",
            "ask the CA for a certificate with keyUsage digitalSignature",
        )
    return _Unfit(
        f"{name!r} has a critical extension that clients do not know: {unknown_critical(signer)}",
        "ask the CA for a certificate without it",
    )


def check_signer_of(
    signer: x509.Certificate, certificates: Iterable[bytes], at: int, *, trusted: bool = False
) -> SignerFitness:
    """Check that `signer` may answer for the CA that has these certificates (DER, at least one), under any of its keys.

    `trusted`: an operator has named it as a responder that clients trust by their own configuration (RFC 6960 section
    4.2.2.2), so that the CA need not have issued it. Raises: SigningError with what is wrong under the first.
    """
    first: SigningError | None = None
    for certificate_der in certificates:
        try:
            return check_signer(signer, load_certificate(certificate_der), at)
        except SigningError as error:
            first = first or error
    if trusted and may_sign(signer) and not_before(signer) <= at <= not_after(signer):
        return SignerFitness(own_key=False, warnings=(TRUSTED,))
    raise first or SigningError("a CA without a certificate")


class _Fields(NamedTuple):
    """Of a certificate: elements in DER, but for the content of serialNumber and the value of subjectPublicKey."""

    serial: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    key_info: bytes
    key_bits: bytes


@at_hand(_AT_HAND)
def _fields(certificate: x509.Certificate) -> _Fields:
    """What is wanted of a certificate as it stands.

    The library has read all of it as strict DER, so its tags and lengths are believed.
    """
    data = der_of(certificate)
    begin, _ = _bounds(data, _bounds(data, 0)[0])
    if data[begin] == 0xA0:  # the version
        _, begin = _bounds(data, begin)
    serial, serial_end = _bounds(data, begin)
    _, signature_end = _bounds(data, serial_end)
    _, issuer_end = _bounds(data, signature_end)
    _, validity_end = _bounds(data, issuer_end)
    _, subject_end = _bounds(data, validity_end)
    algorithm, key_info_end = _bounds(data, subject_end)
    key, key_end = _bounds(data, _bounds(data, algorithm)[1])
    return _Fields(
        serial=data[serial:serial_end],
        signature=data[serial_end:signature_end],
        issuer=data[signature_end:issuer_end],
        subject=data[validity_end:subject_end],
        key_info=data[subject_end:key_info_end],
        key_bits=data[key + 1 : key_end],  # the first octet tells that no bit of the last one is unused
    )


def _bounds(data: bytes, position: int) -> tuple[int, int]:
    """Where the content of the element at that position begins and ends; its tag and length are believed."""
    length, start = data[position + 1], position + 2
    if length >= 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    return start, start + length
