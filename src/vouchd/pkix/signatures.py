"""Signature algorithms: the Certificate System's names, their AlgorithmIdentifiers, and verification.

Signing is the signers' business; which algorithm a name means and how a signature is verified stands here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from vouchd.pkix import der
from vouchd.pkix.der import Buffer

_PSS, _MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
_DIGEST_OIDS = {
    "SHA-1": "1.3.14.3.2.26",
    "SHA-256": "2.16.840.1.101.3.4.2.1",
    "SHA-384": "2.16.840.1.101.3.4.2.2",
    "SHA-512": "2.16.840.1.101.3.4.2.3",
}
DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "SHA-1": hashes.SHA1(),  # noqa: S303  CertIDs and old CRLs are made with it; nothing is signed with it here
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """One signature algorithm; `digest` is empty where the algorithm hashes inside (EdDSA, ML-DSA)."""

    name: str
    oid: str
    key_type: str
    digest: str
    identifier_der: bytes

    @property
    def deterministic(self) -> bool:
        """Whether signatures of one key over the same data are the same bytes; those of ECDSA are, by RFC 6979."""
        return self.oid != _PSS and not self.key_type.startswith("ML-DSA")


@cache
def digest_identifier(digest: str, *, null: bool = True) -> bytes:
    """AlgorithmIdentifier of a digest, with the NULL parameters that RFC 8017 asks for or without."""
    return der.tlv(der.SEQUENCE, der.oid_tlv(_DIGEST_OIDS[digest]), der.tlv(der.NULL) if null else b"")


def _pss_identifier(digest: str) -> bytes:
    """AlgorithmIdentifier of RSASSA-PSS with MGF1 of the same digest and a salt of its length (RFC 4055 section 3)."""
    hash_algorithm = digest_identifier(digest)
    mask = der.tlv(der.SEQUENCE, der.oid_tlv(_MGF1), hash_algorithm)
    salt = der.integer_tlv(DIGESTS[digest].digest_size)
    parameters = der.tlv(der.SEQUENCE, der.tlv(0xA0, hash_algorithm), der.tlv(0xA1, mask), der.tlv(0xA2, salt))
    return der.tlv(der.SEQUENCE, der.oid_tlv(_PSS), parameters)


def _algorithm(name: str, oid: str, key_type: str, digest: str = "") -> SignatureAlgorithm:
    if oid == _PSS:
        identifier = _pss_identifier(digest)
    else:
        # RFC 4055 section 5: RSA PKCS #1 v1.5 has NULL parameters; ECDSA, EdDSA and ML-DSA have none.
        identifier = der.tlv(der.SEQUENCE, der.oid_tlv(oid), der.tlv(der.NULL) if key_type == "RSA" else b"")
    return SignatureAlgorithm(name, oid, key_type, digest, identifier)


ALGORITHMS: dict[str, SignatureAlgorithm] = {
    row.name: row
    for row in (
        _algorithm("SHA256withRSA", "1.2.840.113549.1.1.11", "RSA", "SHA-256"),
        _algorithm("SHA384withRSA", "1.2.840.113549.1.1.12", "RSA", "SHA-384"),
        _algorithm("SHA512withRSA", "1.2.840.113549.1.1.13", "RSA", "SHA-512"),
        _algorithm("SHA256withRSA/PSS", _PSS, "RSA", "SHA-256"),
        _algorithm("SHA384withRSA/PSS", _PSS, "RSA", "SHA-384"),
        _algorithm("SHA512withRSA/PSS", _PSS, "RSA", "SHA-512"),
        _algorithm("SHA256withEC", "1.2.840.10045.4.3.2", "EC", "SHA-256"),
        _algorithm("SHA384withEC", "1.2.840.10045.4.3.3", "EC", "SHA-384"),
        _algorithm("SHA512withEC", "1.2.840.10045.4.3.4", "EC", "SHA-512"),
        _algorithm("Ed25519", "1.3.101.112", "Ed25519"),
        _algorithm("Ed448", "1.3.101.113", "Ed448"),
        _algorithm("ML-DSA-44", "2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
        _algorithm("ML-DSA-65", "2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
        _algorithm("ML-DSA-87", "2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
    )
}

_KEY_TYPES: tuple[tuple[type, str], ...] = (
    (rsa.RSAPublicKey, "RSA"),
    (ec.EllipticCurvePublicKey, "EC"),
    (ed25519.Ed25519PublicKey, "Ed25519"),
    (ed448.Ed448PublicKey, "Ed448"),
    (mldsa.MLDSA44PublicKey, "ML-DSA-44"),
    (mldsa.MLDSA65PublicKey, "ML-DSA-65"),
    (mldsa.MLDSA87PublicKey, "ML-DSA-87"),
)

# Signed with by old CAs; accepted in what others signed, never made here.
_VERIFY_ONLY = {"1.2.840.113549.1.1.5": ("RSA", "SHA-1"), "1.2.840.10045.4.1": ("EC", "SHA-1")}
_BY_DOTTED = {row.oid: (row.key_type, row.digest) for row in ALGORITHMS.values() if row.oid != _PSS} | _VERIFY_ONLY
_BY_OID = {der.oid_octets(oid): scheme for oid, scheme in _BY_DOTTED.items()}
_PSS_OCTETS = der.oid_octets(_PSS)
_DIGEST_BY_OID = {der.oid_octets(oid): name for name, oid in _DIGEST_OIDS.items()}
_DIGEST_BY_IDENTIFIER = {digest_identifier(name, null=null): name for name in _DIGEST_OIDS for null in (True, False)}


def key_type(public_key: PublicKeyTypes) -> str:
    """The key type of `ALGORITHMS` that a public key belongs to. Raises: ValueError for others (DSA, X25519)."""
    return _key_type(type(public_key))


@cache
def _key_type(kind: type) -> str:
    for cls, name in _KEY_TYPES:
        if issubclass(kind, cls):
            return name
    raise ValueError("key of a type that is not supported")


def algorithms_for(public_key: PublicKeyTypes) -> tuple[str, ...]:
    """Names of the algorithms that the key can make, the usual default first. Raises: ValueError."""
    bits = public_key.curve.key_size if isinstance(public_key, ec.EllipticCurvePublicKey) else 0
    return _algorithms(key_type(public_key), bits)


@cache
def _algorithms(kind: str, curve_bits: int) -> tuple[str, ...]:
    """Those of a type of keys, of EC ones on a curve of that size: one object for all keys that are alike."""
    names = [row.name for row in ALGORITHMS.values() if row.key_type == kind]
    # The digest as long as the curve by default (RFC 5656 section 6.2.1).
    default = {256: "SHA256withEC", 384: "SHA384withEC", 521: "SHA512withEC"}.get(curve_bits)
    return tuple(sorted(names, key=lambda name: name != default) if default else names)


def verify(public_key: PublicKeyTypes, identifier_der: bytes, signature: bytes, data: Buffer) -> None:
    """Verify `signature` over `data` made with the algorithm of the DER AlgorithmIdentifier.

    Raises: ValueError with the reason when the algorithm is not supported, is not the key's, or the signature is wrong.
    """
    verifier(public_key, identifier_der)(signature, data)


def verifier(public_key: PublicKeyTypes, identifier_der: bytes) -> Callable[[bytes, Buffer], None]:
    """What verifies signatures of one key and algorithm: see `verify`, whose first two arguments are settled here."""
    kind, settled = _usual().get(identifier_der) or _scheme(identifier_der)
    if key_type(public_key) != kind:
        raise ValueError("the signature algorithm is of another type than the key")
    takes_bytes_alone = not settled
    check = public_key.verify  # type: ignore[union-attr]  # those of `_KEY_TYPES` have it

    def verify_one(signature: bytes, data: Buffer) -> None:
        try:
            check(signature, bytes(data) if takes_bytes_alone else data, *settled)  # type: ignore[arg-type]
        except (InvalidSignature, UnsupportedAlgorithm) as exc:
            raise ValueError("the signature is wrong") from exc

    return verify_one


_Scheme = tuple[str, tuple[object, ...]]


@cache
def _usual() -> dict[bytes, _Scheme]:
    """What is verified again and again is read once; others may be as long as whoever wrote them liked."""
    return {row.identifier_der: _scheme(row.identifier_der) for row in ALGORITHMS.values()}


def _scheme(identifier_der: bytes) -> _Scheme:
    """Key type of an AlgorithmIdentifier, and the arguments that the library wants beside signature and data."""
    parts = list(der.children(identifier_der, der.whole(identifier_der, der.SEQUENCE)))
    if not parts or parts[0].tag != der.OID or len(parts) > 2:
        raise ValueError("no AlgorithmIdentifier")
    oid = der.oid(identifier_der, parts[0])
    if oid == _PSS_OCTETS:
        digest, salt = _pss_parameters(identifier_der, parts)
        return "RSA", (padding.PSS(padding.MGF1(DIGESTS[digest]), salt), DIGESTS[digest])
    if oid not in _BY_OID:
        raise ValueError(f"signature algorithm {der.dotted(oid)} is not supported")
    kind, digest = _BY_OID[oid]
    if kind == "RSA":
        return kind, (padding.PKCS1v15(), DIGESTS[digest])
    return kind, (ec.ECDSA(DIGESTS[digest]),) if kind == "EC" else ()


def _pss_parameters(data: bytes, parts: list[der.TLV]) -> tuple[str, int]:
    """Digest and salt length of RSASSA-PSS-params; MGF1 has to use the same digest (RFC 4055 section 3.1)."""
    digest, mask, salt = "SHA-1", "SHA-1", 20
    fields = der.children(data, parts[1]) if len(parts) == 2 and parts[1].tag == der.SEQUENCE else ()
    for outer in fields:
        inner = der.read_tlv(data, outer.start, outer.end)
        if outer.tag == 0xA0:
            digest = _digest_of(data, inner)
        elif outer.tag == 0xA1:
            _, hash_algorithm = der.children(data, inner)
            mask = _digest_of(data, hash_algorithm)
        elif outer.tag == 0xA2:
            salt = der.integer(data, inner)
    if mask != digest or not 0 <= salt <= 64:
        raise ValueError("RSASSA-PSS parameters that are not supported")
    return digest, salt


def _digest_of(data: Buffer, identifier: der.TLV) -> str:
    name = digest_name(der.element(data, identifier))
    if name is None:
        raise ValueError("digest that is not supported")
    return name


def digest_name(identifier_der: bytes) -> str | None:
    """`SHA-256` and the like for an AlgorithmIdentifier of a digest, None for another. Raises: ValueError."""
    usual = _DIGEST_BY_IDENTIFIER.get(identifier_der)
    if usual is not None:
        return usual
    parts = list(der.children(identifier_der, der.whole(identifier_der, der.SEQUENCE)))
    if not parts or parts[0].tag != der.OID:
        raise ValueError("no AlgorithmIdentifier")
    if len(parts) > 2 or (len(parts) == 2 and (parts[1].tag != der.NULL or parts[1].end != parts[1].start)):
        raise ValueError("digest with parameters")
    return _DIGEST_BY_OID.get(der.oid(identifier_der, parts[0]))
