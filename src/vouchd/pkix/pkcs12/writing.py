"""The bytes of a PKCS #12 file put together: several keys, each with its name, and every certificate once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from asn1crypto import core, pkcs12

from vouchd.pkix.pkcs12.pbe import DIGEST, KDF_ITERATIONS, Random, Secret, encrypt, new_mac


@dataclass(frozen=True, slots=True)
class Content:
    """A key (unencrypted PKCS #8), its certificate and those above it, all DER."""

    name: str
    key: bytes
    certificate: bytes
    others: tuple[bytes, ...]


def key_file_der(contents: Sequence[Content], secret: Secret, random: Random) -> bytes:
    """DER of the file; `random` gives that many random bytes."""
    certificates = pkcs12.SafeContents(_certificate_bags(contents)).dump()
    keys = pkcs12.SafeContents([_key_bag(one, secret, random) for one in contents]).dump()
    algorithm, encrypted = encrypt(secret, certificates, random)
    inner = {"content_type": "data", "content_encryption_algorithm": algorithm, "encrypted_content": encrypted}
    safe = pkcs12.AuthenticatedSafe(
        [
            {"content_type": "encrypted_data", "content": {"version": "v0", "encrypted_content_info": inner}},
            {"content_type": "data", "content": core.OctetString(keys)},
        ]
    ).dump()
    digest, salt = new_mac(secret, safe, random)
    return pfx_der(safe, digest, salt, KDF_ITERATIONS, DIGEST)


def pfx_der(safe: bytes, digest: bytes, salt: bytes, iterations: int, algorithm: str) -> bytes:
    """DER of a PFX around the authenticated safe with its MAC."""
    info = {"digest_algorithm": {"algorithm": algorithm}, "digest": digest}
    mac_data = {"mac": info, "mac_salt": salt, "iterations": iterations}
    content = {"content_type": "data", "content": core.OctetString(safe)}
    return bytes(pkcs12.Pfx({"version": "v3", "auth_safe": content, "mac_data": mac_data}).dump())


def _key_bag(one: Content, secret: Secret, random: Random) -> pkcs12.SafeBag:
    algorithm, encrypted = encrypt(secret, one.key, random)
    value = {"encryption_algorithm": algorithm, "encrypted_data": encrypted}
    return _bag("pkcs8_shrouded_key_bag", value, one.name, one.certificate)


def _certificate_bags(contents: Sequence[Content]) -> list[pkcs12.SafeBag]:
    """Each certificate once: those with keys carry name and local key id, those above neither."""
    own = [one.certificate for one in contents]
    above = dict.fromkeys(other for one in contents for other in one.others if other not in own)
    named = [_bag("cert_bag", _certificate(one.certificate), one.name, one.certificate) for one in contents]
    return [*named, *(_bag("cert_bag", _certificate(other)) for other in above)]


def _certificate(der: bytes) -> dict[str, object]:
    return {"cert_id": "x509", "cert_value": core.ParsableOctetString(der)}


def _bag(kind: str, value: object, name: str = "", own: bytes | None = None) -> pkcs12.SafeBag:
    attributes: list[dict[str, object]] = []
    if name:
        attributes.append({"type": "friendly_name", "values": [name]})
    if own is not None:
        attributes.append({"type": "local_key_id", "values": [sha256(own).digest()]})
    fields = {"bag_id": kind, "bag_value": value}
    return pkcs12.SafeBag(fields | ({"bag_attributes": attributes} if attributes else {}))
