"""The bytes of a PKCS #12 file taken apart: keys and certificates as they lie there, with their attributes.

Nothing is matched here. The file may be several PKCS #12 structures one after the other, which is what `cat` makes of
the files of `openssl pkcs12`, as it puts one key into each.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from asn1crypto import algos, cms, core, parser, pkcs12
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from vouchd.errors import SigningError
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.pkcs12.pbe import Secret, UnknownEncryption, decrypt, mac
from vouchd.pkix.pkcs12.writing import pfx_der

MAX_BAGS = 500
MAX_STRUCTURES = 50
_MAX_DEPTH = 4
# What asn1crypto raises at structures that are none; also AttributeError, as fuzzing has found.
_DAMAGED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
_WHOLE = "carry the file here whole, as bytes; sha256sum tells whether it is the same at both ends"
_T = TypeVar("_T")
# The Certificate System keeps a certificate's trust flags of NSS with it; before it did, only its nicknames told.
_TRUST_FLAGS = "2.16.840.1.113730.5.1.1.1"
_ITS_NICKNAME = "ocspSigningCert cert-"
_RC2 = {"pkcs12_sha1_rc2_40", "pkcs12_sha1_rc2_128"}


class NotPKCS12(SigningError):
    """The bytes are something else."""


class WrongPassword(SigningError):
    """The MAC does not come out: another password, or a byte was changed; the two cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Named(Generic[_T]):
    """A key or certificate with its attributes; a name or an id that is not there is empty."""

    value: _T
    friendly_name: str
    local_key_id: bytes


@dataclass(slots=True)
class Bags:
    """All that is in a file, in its order."""

    keys: list[Named[PrivateKeyTypes]] = field(default_factory=list)
    certificates: list[Named[x509.Certificate]] = field(default_factory=list)
    count: int = 0
    certificate_system: bool = False  # whether a Dogtag or Red Hat Certificate System wrote them


def read_bags(data: bytes, password: str) -> Bags:
    """Check the MAC and open all that is in `data`.

    Raises: NotPKCS12; WrongPassword; SigningError for what is not supported, damaged or out of bounds.
    """
    secret, bags = Secret(password), Bags()
    structures = list(_structures(data))
    try:
        for pfx in structures:
            safe = _checked_safe(pfx, secret)
            for content in pkcs12.AuthenticatedSafe.load(safe, strict=True):
                _open(content, secret, bags)
    except (*_DAMAGED, UnsupportedAlgorithm) as error:
        raise SigningError("a damaged PKCS #12 file") from error
    return bags


def _structures(data: bytes) -> Iterator[pkcs12.Pfx]:
    if not data:
        raise NotPKCS12("empty, so not a PKCS #12 file", hint=_WHOLE)
    for _ in range(MAX_STRUCTURES):
        try:
            length = parser.peek(data)
            pfx = pkcs12.Pfx.load(data[:length], strict=True)
            valid = pfx["version"].native == "v3" and pfx["auth_safe"]["content_type"].native == "data"
        except _DAMAGED as error:
            raise NotPKCS12("not a PKCS #12 file, or a part of one", hint=_WHOLE) from error
        if not valid:
            raise NotPKCS12("not a PKCS #12 file of version 3 with a MAC by password")
        yield pfx
        data = data[length:]
        if not data.strip(b"\0\r\n"):
            return
    raise SigningError(f"more than {MAX_STRUCTURES} PKCS #12 structures")


def _checked_safe(pfx: pkcs12.Pfx, secret: Secret) -> bytes:
    """The authenticated safe, once its MAC has come out."""
    mac_data, safe = pfx["mac_data"], pfx["auth_safe"]["content"].native
    if isinstance(mac_data, core.Void) or mac_data.native is None:
        raise SigningError("without a MAC, so what is in it cannot be relied upon")
    algorithm = mac_data["mac"]["digest_algorithm"]["algorithm"].native
    made = mac(secret, safe, mac_data["mac_salt"].native, mac_data["iterations"].native, algorithm)
    if not hmac.compare_digest(made, mac_data["mac"]["digest"].native):
        raise WrongPassword("wrong password, or a damaged file", hint="openssl pkcs12 -info -noout -in FILE tries it")
    return bytes(safe)


def _open(content: cms.ContentInfo, secret: Secret, bags: Bags) -> None:
    kind = content["content_type"].native
    if kind == "data":
        _sort(_contents(content["content"].native), secret, bags)
    elif kind == "encrypted_data":
        inner = content["content"]["encrypted_content_info"]
        algorithm = inner["content_encryption_algorithm"]
        if algorithm["algorithm"].native in _RC2:
            _open_rc2(content, algorithm, secret, bags)
            return
        _sort(_decrypted(secret, algorithm, inner["encrypted_content"].native, _contents), secret, bags)
    else:
        raise UnknownEncryption(f"a part of the kind {kind} is not supported")


def _decrypted(secret: Secret, algorithm: algos.EncryptionAlgorithm, data: bytes, parse: Callable[[bytes], _T]) -> _T:
    for plain in decrypt(secret, algorithm, data):
        try:
            return parse(plain)
        except (ValueError, TypeError, KeyError):  # a padding that came out right by chance
            continue
    raise WrongPassword("wrong password for a part of the file")


def _contents(data: bytes) -> pkcs12.SafeContents:
    contents = pkcs12.SafeContents.load(data, strict=True)
    len(contents)  # the library parses only now
    return contents


def _open_rc2(content: cms.ContentInfo, algorithm: algos.EncryptionAlgorithm, secret: Secret, bags: Bags) -> None:
    """Certificates under 40-bit RC2, which the cryptography library opens only inside a file: so make it one."""
    secret.spend(algorithm["parameters"]["iterations"].native)
    safe, salt = pkcs12.AuthenticatedSafe([content]).dump(), b"\0" * 8
    digest = mac(secret, safe, salt, 1, "sha1")
    contents = load_pkcs12(pfx_der(safe, digest, salt, 1, "sha1"), next(secret.forms()))
    if contents.key is not None or contents.cert is not None:
        raise UnknownEncryption("a key under RC2 is not supported")
    for extra in contents.additional_certs:
        name = (extra.friendly_name or b"").decode("utf-8", "replace")
        named = Named(extra.certificate, name, b"")
        bags.certificates.append(named)
        bags.certificate_system |= _has_its_nickname(named)


def _sort(contents: pkcs12.SafeContents, secret: Secret, bags: Bags, depth: int = 0) -> None:
    for bag in contents:
        bags.count += 1
        if bags.count > MAX_BAGS or depth > _MAX_DEPTH:
            raise SigningError(f"more than {MAX_BAGS} keys and certificates, or nested more than {_MAX_DEPTH} deep")
        kind, value = bag["bag_id"].native, bag["bag_value"]
        if kind == "safe_contents":
            _sort(value, secret, bags, depth + 1)
        elif kind == "cert_bag" and value["cert_id"].native == "x509":
            certificate = load_certificate(bytes(value["cert_value"]))
            named = Named(certificate, *_attributes(bag))
            bags.certificates.append(named)
            bags.certificate_system |= _TRUST_FLAGS in _attribute_types(bag) or _has_its_nickname(named)
        elif kind in {"key_bag", "pkcs8_shrouded_key_bag"}:
            bags.keys.append(Named(_key(kind, value, secret), *_attributes(bag)))


def _key(kind: str, value: core.Asn1Value, secret: Secret) -> PrivateKeyTypes:
    if kind == "key_bag":
        return _load(value.dump())
    algorithm = value["encryption_algorithm"]
    return _decrypted(secret, algorithm, value["encrypted_data"].native, _load)


def _load(der: bytes) -> PrivateKeyTypes:
    return load_der_private_key(der, None)


def _has_its_nickname(named: Named[x509.Certificate]) -> bool:
    return named.friendly_name.rpartition(":")[2].startswith(_ITS_NICKNAME)


def _attribute_types(bag: pkcs12.SafeBag) -> set[str]:
    attributes = bag["bag_attributes"]
    return {attribute["type"].dotted for attribute in attributes} if attributes.native else set()


def _attributes(bag: pkcs12.SafeBag) -> tuple[str, bytes]:
    """Friendly name and local key id."""
    name, identifier = "", b""
    for attribute in bag["bag_attributes"] if bag["bag_attributes"].native else ():
        kind, values = attribute["type"].native, attribute["values"]
        if kind == "friendly_name" and len(values):
            name = values[0].native
        elif kind == "local_key_id" and len(values):
            identifier = values[0].native
    return name, identifier
