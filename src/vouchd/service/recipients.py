"""Whom a CRL concerns: the CA that issued it, or those that have named its issuer for their indirect CRLs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography import x509

from vouchd.core import certs, names
from vouchd.core.crl import CRLHeader
from vouchd.core.facts import Authority
from vouchd.errors import CRLRejected


@dataclass(frozen=True, slots=True)
class Recipient:
    """A CA that a CRL may be taken for, with the certificate whose key should have signed it."""

    authority: Authority
    issuer_der: bytes


def recipients(header: CRLHeader, authorities: Iterable[Authority]) -> tuple[Recipient, ...]:
    """The CAs that a CRL with this header may be taken for; at least one.

    Names are compared byte for byte; a key identifier decides between CAs of one name. Nothing is verified here.

    Raises: CRLRejected when it concerns no CA that is registered.
    """
    found = tuple(recipient for authority in authorities for recipient in _of(header, authority))
    if not found:
        raise CRLRejected(
            f"the CRL's issuer is no CA of this responder: {names.readable(header.issuer_name_der)}",
            hint="vouchd ca add CERTIFICATE, or name the issuer of an indirect CRL in the CA's policy",
        )
    return found


def _of(header: CRLHeader, authority: Authority) -> Iterator[Recipient]:
    if _may_have_issued(authority.certificate_der, header):
        yield Recipient(authority, authority.certificate_der)
    elif header.scope.indirect:
        issuers = [der for der in authority.policy.crl_issuers if _may_have_issued(der, header)]
        yield from (Recipient(authority, der) for der in issuers[:1])


def _may_have_issued(certificate_der: bytes, header: CRLHeader) -> bool:
    certificate = certs.load_certificate(certificate_der)
    if certs.subject_der(certificate) != header.issuer_name_der:
        return False
    return header.authority_key_id is None or header.authority_key_id in _key_ids(certificate)


def _key_ids(certificate: x509.Certificate) -> tuple[bytes, ...]:
    # RFC 5280 4.2.1.1: the identifier is the one in the issuer's certificate; without one there, SHA-1 is the custom.
    try:
        return (certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest,)
    except x509.ExtensionNotFound:
        return (hashlib.sha1(certs.public_key_bits(certificate), usedforsecurity=False).digest(),)
