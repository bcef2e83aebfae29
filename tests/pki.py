"""A CA in one call, for tests: certificates, delegated signers and CRLs that are valid by default.

A test passes only what is wrong or special in its case. Times are POSIX seconds; NOW is the day all tests live in.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vouchd.pkix.der import integer_tlv

NOW = 1_795_000_000  # 2026-11-18
HOUR = 3600
DAY = 86400


def moment(seconds: int) -> dt.datetime:
    """Aware datetime of POSIX seconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def new_key(kind: str = "EC"):
    """A fresh private key: RSA, EC (P-256), P-384, P-521, Ed25519, Ed448, ML-DSA-44, ML-DSA-65, ML-DSA-87."""
    makers = {
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
        "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
        "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
        "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
    }
    return makers[kind]()


@cache
def shared_key(kind: str = "EC", number: int = 0):
    """A key made once per test run: making RSA keys is slow."""
    return new_key(kind)


def signing_hash(key):
    """The hash that cryptography's builders take for the key, None where the algorithm hashes inside."""
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None


def name(common_name: str) -> x509.Name:
    """A Name with one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def ca_version(index: int) -> tuple[x509.UnrecognizedExtension, bool]:
    """Microsoft's CA version, not critical: a CRL with it speaks for the key of that index alone."""
    version = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.1")
    return x509.UnrecognizedExtension(version, integer_tlv(index << 16 | index)), False


@dataclass
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: object

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def serial(self) -> bytes:
        return serial_octets(self.certificate.serial_number)


def serial_octets(number: int) -> bytes:
    """DER INTEGER content octets of a serial number."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


@dataclass
class CA(Issued):
    """A certification authority that issues and makes CRLs."""

    crl_number: int = field(default=0)

    @classmethod
    def create(
        cls,
        common_name: str = "Test CA",
        kind: str = "EC",
        key=None,
        *,
        ca: bool = True,
        not_before: int = NOW - 365 * DAY,
        not_after: int = NOW + 3650 * DAY,
    ) -> CA:
        """A self-signed CA, valid from a year before NOW to ten years after."""
        key = key or shared_key(kind)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common_name))
            .issuer_name(name(common_name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment(not_before))
            .not_valid_after(moment(not_after))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(usage, critical=True)
        )
        return cls(builder.sign(key, signing_hash(key)), key)

    def issue(
        self,
        common_name: str = "subject",
        *,
        kind: str = "EC",
        key=None,
        serial: int | None = None,
        not_before: int = NOW - 30 * DAY,
        not_after: int = NOW + 365 * DAY,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> Issued:
        """An end-entity certificate."""
        key = key or new_key(kind)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(moment(not_before))
            .not_valid_after(moment(not_after))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Issued(builder.sign(self.key, signing_hash(self.key)), key)

    def issue_signer(self, common_name: str = "OCSP signer", *, kind: str = "EC", nocheck: bool = True, **kw) -> Issued:
        """A delegated OCSP signer's certificate."""
        extensions = ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),)
        if nocheck:
            extensions += ((x509.OCSPNoCheck(), False),)
        return self.issue(
            common_name, kind=kind, key=kw.pop("key", None) or shared_key(kind, 1), extensions=extensions, **kw
        )

    def crl(
        self,
        revoked: dict[int, x509.ReasonFlags | None] | None = None,
        *,
        number: int | None = None,
        this_update: int = NOW - HOUR,
        next_update: int | None = NOW + DAY,
        base: int | None = None,
        idp: x509.IssuingDistributionPoint | None = None,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        revoked_at: int = NOW - DAY,
        key=None,
    ) -> bytes:
        """DER of a CRL with the serials and reasons of `revoked`; `base` makes it a delta CRL."""
        if number is None:
            self.crl_number += 1
            number = self.crl_number
        end = moment(this_update + 3650 * DAY if next_update is None else next_update)
        # All entries at once: the builder copies those it has with each that is added.
        entries = [_revoked(serial, reason, revoked_at) for serial, reason in (revoked or {}).items()]
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, moment(this_update), end, revoked_certificates=entries
        )
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False
        )
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
        if idp is not None:
            builder = builder.add_extension(idp, critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        key = key or self.key
        return builder.sign(key, signing_hash(key)).public_bytes(Encoding.DER)


def _revoked(serial: int, reason: x509.ReasonFlags | None, revoked_at: int) -> x509.RevokedCertificate:
    """An entry of a CRL."""
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(revoked_at))
    if reason is not None:
        entry = entry.add_extension(x509.CRLReason(reason), critical=False)
    return entry.build()
