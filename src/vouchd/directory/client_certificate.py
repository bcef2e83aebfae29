"""A certificate with which an account of the directory server binds instead of a password (SASL EXTERNAL over TLS).

The server finds the account by the certificate's subject, in `seeAlso`, and looks whether the certificate itself is one
of `userCertificate`: a certificate of that name alone is nobody's. Which attributes these are its certmap.conf says.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vouchd.errors import ConfigError
from vouchd.pkix.certs import load_certificate
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key
from vouchd.signing.token.keys import TokenKey

SUBJECT, CERTIFICATE = "seeAlso", "userCertificate;binary"
# certmap.conf of a server that is to let accounts in so: any issuer that it trusts, the whole tree, both attributes.
CERTMAP = f"""\
certmap default default
default:DNComps
default:FilterComps
default:CmapLdapAttr {SUBJECT}
default:VerifyCert on
"""


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A certificate, those above it, and its key; the key is in no representation of it."""

    certificates: tuple[x509.Certificate, ...]  # its own first
    key_pem: bytes = field(repr=False)

    @classmethod
    def load(cls, certificate_file: Path, key_file: Path, password: str | None) -> ClientIdentity:
        """What is in these files. Raises: SigningError; ConfigError for a key that cannot leave its token."""
        key = read_key(key_file, password)
        if isinstance(key, TokenKey):
            raise ConfigError(
                f"{key_file}: the key is on a token, which the LDAP library cannot use",
                hint="bind with a password (internaldb.ldapauth.authtype=BasicAuth), or a certificate of another key",
            )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(read_certificates(certificate_file), pem)

    @property
    def der(self) -> bytes:
        """DER of its own certificate."""
        return self.certificates[0].public_bytes(Encoding.DER)

    @contextmanager
    def files(self) -> Iterator[tuple[str, str]]:
        """Names of files with the certificates and the key, for a library that takes nothing else.

        They are in memory, for this process alone, and gone with the block.
        """
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in self.certificates)
        with _in_memory(chain) as certificate, _in_memory(self.key_pem) as key:
            yield certificate, key


def known_by(certificates: Iterable[bytes]) -> dict[str, tuple[bytes, ...]]:
    """What the entry of an account has that these certificates (DER) let in."""
    ders = tuple(certificates)
    subjects = dict.fromkeys(load_certificate(der).subject.rfc4514_string().encode() for der in ders)
    return {SUBJECT: tuple(subjects), CERTIFICATE: ders}


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("client-identity", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
