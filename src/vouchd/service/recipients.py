"""Whom a CRL concerns: the CA that issued it, or those that have named its issuer for their indirect CRLs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography import x509

from vouchd.pkix import certs
from vouchd.core import names
from vouchd.pkix.crl import CRLHeader
from vouchd.core.facts import Authority
from vouchd.errors import CRLRejected


@dataclass(frozen=True, slots=True)
class Recipient:
    """A CA that a CRL may be taken for, with the certificate whose key should have signed it."""

    authority: Authority
    issuer_der: bytes


def recipients(header: CRLHeader, authorities: Iterable[Authority]) -> tuple[Recipient, ...]:
    """The CAs that a CRL with this header may be taken for; at least one.

    Names are compared byte for byte; of several CAs of one name the key identifier decides. Nothing is verified here:
    that is for `core.acceptance`, which also tells when the only CA of that name has another key.

    Raises: CRLRejected when it concerns no CA that is registered.
    """
    named = tuple(recipient for authority in authorities for recipient in _named(header, authority))
    if not named:
        raise CRLRejected(
            f"the CRL's issuer is no CA of this responder: {names.readable(header.issuer_name_der)}",
            hint="vouchd ca add CERTIFICATE, or name the issuer of an indirect CRL in the CA's policy",
        )
    return tuple(recipient for recipient in named if _has_key(header, recipient)) or named


def _named(header: CRLHeader, authority: Authority) -> Iterator[Recipient]:
    issuers = authority.policy.crl_issuers if header.scope.indirect else ()
    for certificate_der in (authority.certificate_der, *issuers):
        if certs.subject_der(certs.load_certificate(certificate_der)) == header.issuer_name_der:
            yield Recipient(authority, certificate_der)


def _has_key(header: CRLHeader, recipient: Recipient) -> bool:
    """Whether the key identifiers of CRL and certificate agree, or one of them has none."""
    extensions = certs.load_certificate(recipient.issuer_der).extensions
    try:
        key_id = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return True
    return header.authority_key_id in {None, key_id}
