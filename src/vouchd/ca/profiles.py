"""Certificate profiles: what each kind of certificate may be used for and how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from vouchd.ca.facts import DAY


class ProfileName(StrEnum):
    """The profiles certificates are issued under."""

    CA = "ca"
    SERVER = "server"
    USER = "user"
    OCSP_SIGNING = "ocsp-signing"
    SUBSYSTEM = "subsystem"
    AUDIT_SIGNING = "audit-signing"


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate."""

    name: ProfileName
    summary: str
    validity_seconds: int
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = ()
    is_ca: bool = False
    # id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1): clients do not ask whether the signer itself is revoked; such
    # a certificate has no OCSP address and no CRL distribution point, and is kept short-lived instead.
    ocsp_nocheck: bool = False
    content_commitment: bool = False  # keyUsage nonRepudiation

    def key_usage(self, key: PublicKeyTypes) -> x509.KeyUsage:
        """The keyUsage extension for a certificate of `key`."""
        transports_keys = isinstance(key, rsa.RSAPublicKey) and self.name in {
            ProfileName.SERVER,
            ProfileName.USER,
            ProfileName.SUBSYSTEM,
        }
        return x509.KeyUsage(
            digital_signature=not self.is_ca,
            content_commitment=self.content_commitment,
            key_encipherment=transports_keys,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=self.is_ca,
            crl_sign=self.is_ca,
            encipher_only=False,
            decipher_only=False,
        )


_OID = ExtendedKeyUsageOID
PROFILES: dict[ProfileName, Profile] = {
    profile.name: profile
    for profile in (
        Profile(ProfileName.CA, "a subordinate certification authority", 1825 * DAY, is_ca=True),
        Profile(ProfileName.SERVER, "a TLS server", 397 * DAY, (_OID.SERVER_AUTH,)),
        Profile(
            ProfileName.USER, "a person: TLS client and mail", 365 * DAY, (_OID.CLIENT_AUTH, _OID.EMAIL_PROTECTION)
        ),
        Profile(ProfileName.OCSP_SIGNING, "a delegated OCSP signer", 90 * DAY, (_OID.OCSP_SIGNING,), ocsp_nocheck=True),
        Profile(
            ProfileName.SUBSYSTEM,
            "a subsystem that speaks TLS to another",
            730 * DAY,
            (_OID.CLIENT_AUTH, _OID.SERVER_AUTH),
        ),
        Profile(ProfileName.AUDIT_SIGNING, "a signer of audit logs", 730 * DAY, content_commitment=True),
    )
}
