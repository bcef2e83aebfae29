"""PKCS #12 files: read as the Certificate System, NSS, OpenSSL and Java write them, written as browsers read them.

The cryptography library puts one key into a file and gives back one, without the local key ids. A backup holds several,
so the core makes and reads the structure, and the library does the ciphers; why:
`docs/decisions/0008-pkcs12-with-several-keys.md`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vouchd.errors import SigningError
from vouchd.files import read_secret, replace_file
from vouchd.pkix.certs import is_issued_by
from vouchd.signing.key_files import check_key_file
from vouchd.signing.keys import PrivateKey, checked_key

if TYPE_CHECKING:
    from vouchd.pkix.pkcs12.reading import Bags, Named


@dataclass(frozen=True, slots=True)
class KeyBag:
    """A key with its certificate, the certificates above that in the file, and its friendly name (may be empty)."""

    key: PrivateKey
    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    friendly_name: str


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a PKCS #12 file holds: keys with their certificates, and by friendly name the certificates without key."""

    path: Path
    bags: tuple[KeyBag, ...]
    certificates: tuple[tuple[str, x509.Certificate], ...]
    certificate_system: bool = False  # whether a Dogtag or Red Hat Certificate System wrote it

    def bag(self, name: str) -> KeyBag:
        """The key of that friendly name. Raises: SigningError, telling a certificate whose key is missing apart."""
        matches = [bag for bag in self.bags if bag.friendly_name == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise SigningError(f"{self.path}: holds {len(matches)} keys of the name {name!r}")
        if any(name == other for other, _ in self.certificates):
            raise SigningError(f"{self.path}: the key of {name!r} is missing, only its certificate is there")
        raise SigningError(f"{self.path}: holds no key {name!r}", hint=f"it holds {self._names()}")

    def bag_for(self, name: str, certificate: x509.Certificate) -> KeyBag:
        """The key of that name, which must be that of `certificate`, such as the master's. Raises: SigningError."""
        bag = self.bag(name)
        if bag.key.public_key() != certificate.public_key():
            subject = certificate.subject.rfc4514_string()
            raise SigningError(
                f"{self.path}: the key {name!r} does not belong to the master's certificate {subject!r}",
                hint="take a new backup on the master: vouchd backup --out FILE --password-file FILE",
            )
        return bag

    def only(self, name: str = "") -> KeyBag:
        """The one key, or of several that of the name `name`. Raises: SigningError."""
        if len(self.bags) == 1:
            return self.bags[0]
        if not self.bags:
            raise SigningError(f"{self.path}: holds no key with its certificate")
        if any(bag.friendly_name == name for bag in self.bags):
            return self.bag(name)
        raise SigningError(f"{self.path}: holds {len(self.bags)} keys", hint=f"name one of {self._names()}")

    def _names(self) -> str:
        return ", ".join(bag.friendly_name or "(without a name)" for bag in self.bags) or "no key at all"


def read_key_file(path: Path, password: str) -> KeyFile:
    """All keys and certificates in the file, its MAC checked.

    Raises: SigningError, apart for: others may read it, not a PKCS #12 file, wrong password, unknown encryption, counts
    out of bounds, a key without certificate, a key that does not belong to its certificate.
    """
    check_key_file(path)
    try:
        from vouchd.pkix.pkcs12.reading import read_bags  # noqa: PLC0415  with its ASN.1 library, for who has such a file

        return _matched(path, read_bags(read_secret(path), password))
    except UnsupportedAlgorithm as error:
        raise SigningError(f"{path}: a certificate has a key of a kind that is not supported") from error
    except SigningError as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}", hint=error.hint) from error


def _matched(path: Path, bags: Bags) -> KeyFile:
    every = [named.value for named in bags.certificates]
    key_bags: list[KeyBag] = []
    used: list[x509.Certificate] = []
    for key in bags.keys:
        usable = checked_key(key.value, str(path))
        own = _certificate_of(key, bags.certificates)
        above = _above(own.value, every)
        used += [own.value, *above]
        key_bags.append(KeyBag(usable, own.value, above, own.friendly_name or key.friendly_name))
    rest = tuple((one.friendly_name, one.value) for one in bags.certificates if one.value not in used)
    return KeyFile(path, tuple(key_bags), rest, bags.certificate_system)


def _certificate_of(
    key: Named[PrivateKeyTypes], certificates: Sequence[Named[x509.Certificate]]
) -> Named[x509.Certificate]:
    """The certificate with the key's public key; of several, that with its local key id."""
    public = key.value.public_key()
    matching = [one for one in certificates if one.value.public_key() == public]
    if matching:
        return next((one for one in matching if one.local_key_id == key.local_key_id), matching[0])
    what = repr(key.friendly_name) if key.friendly_name else "without a name"
    for one in certificates:
        same_id = key.local_key_id and one.local_key_id == key.local_key_id
        if same_id or (key.friendly_name and one.friendly_name == key.friendly_name):
            subject = one.value.subject.rfc4514_string()
            raise SigningError(f"the key {what} does not belong to the certificate {subject!r} of its name")
    raise SigningError(f"the certificate of the key {what} is missing")


def _above(certificate: x509.Certificate, every: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The CAs of the file from the certificate's issuer up."""
    chain: list[x509.Certificate] = []
    below = certificate
    while not is_issued_by(below, below):
        issuer = next((one for one in every if one not in (below, *chain) and is_issued_by(below, one)), None)
        if issuer is None:
            break
        chain.append(issuer)
        below = issuer
    return tuple(chain)


def write_pkcs12(path: Path, bag: KeyBag, password: str) -> None:
    """Write a file with one key, 0600, in place of one that is there. Raises: SigningError."""
    write_key_file(path, [bag], password)


def write_key_file(path: Path, bags: Sequence[KeyBag], password: str) -> None:
    """Write all keys with their chains to a file, 0600, in place of one that is there; whole or not at all.

    AES-256, PBKDF2 and an HMAC with SHA-256: NSS, OpenSSL 3 and Java read it without a legacy provider.

    Raises: SigningError, also when a key does not belong to its certificate.
    """
    replace_file(path, key_file(bags, password), 0o600)


def key_file(bags: Sequence[KeyBag], password: str) -> bytes:
    """The same as the bytes of a file. Raises: SigningError."""
    if not password:
        raise SigningError("keys are not written without a password")
    for bag in bags:
        if bag.key.public_key() != bag.certificate.public_key():
            raise SigningError(f"the key {bag.friendly_name!r} does not belong to its certificate")
    return _pfx(bags, password)


def _pfx(bags: Sequence[KeyBag], password: str) -> bytes:
    from vouchd.pkix.pkcs12.pbe import Secret  # noqa: PLC0415  as above
    from vouchd.pkix.pkcs12.writing import Content, key_file_der  # noqa: PLC0415

    contents = [
        Content(
            name=bag.friendly_name,
            key=bag.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            certificate=bag.certificate.public_bytes(Encoding.DER),
            others=tuple(other.public_bytes(Encoding.DER) for other in bag.others),
        )
        for bag in bags
    ]
    return key_file_der(contents, Secret(password), os.urandom)
