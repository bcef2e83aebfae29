"""Certificates as they are built: a root's own, and those a CA issues (RFC 5280 section 4)."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID

from vouchd.ca.ca_keys import SigningKey
from vouchd.ca.facts import AuthoritySettings
from vouchd.ca.profiles import PROFILES, Profile, ProfileName
from vouchd.ca.requests import CertificateRequest

Extensions = list[tuple[x509.ExtensionType, bool]]


def utc(at: int) -> dt.datetime:
    """`at` (POSIX seconds) as an aware datetime."""
    return dt.datetime.fromtimestamp(at, dt.UTC)


def build_root(
    subject: x509.Name, signer: SigningKey, serial: int, validity: tuple[int, int], path_length: int | None = None
) -> x509.Certificate:
    """The self-signed certificate of a CA; `validity` is first and last second."""
    public_key = signer.key.public_key()
    extensions: Extensions = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (PROFILES[ProfileName.CA].key_usage(public_key), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    ]
    return _signed(subject, subject, public_key, serial, validity, extensions, signer)


def build_issued(
    request: CertificateRequest,
    issuer: x509.Certificate,
    signer: SigningKey,
    serial: int,
    validity: tuple[int, int],
    settings: AuthoritySettings,
) -> x509.Certificate:
    """The certificate that `issuer` gives to `request` under its profile."""
    profile = PROFILES[request.profile]
    extensions: Extensions = [
        (x509.BasicConstraints(ca=profile.is_ca, path_length=request.path_length if profile.is_ca else None), True),
        (profile.key_usage(request.public_key), True),
        (x509.SubjectKeyIdentifier.from_public_key(request.public_key), False),
        (authority_key_identifier(issuer), False),
    ]
    if profile.extended_key_usage:
        extensions.append((x509.ExtendedKeyUsage(profile.extended_key_usage), False))
    if request.names:
        # RFC 5280 section 4.2.1.6: critical when the subject is empty.
        extensions.append((x509.SubjectAlternativeName(request.names), not request.subject.rdns))
    extensions += _where_status_is_found(profile, settings)
    return _signed(request.subject, issuer.subject, request.public_key, serial, validity, extensions, signer)


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The extension that names `issuer`'s key by its certificate's own subjectKeyIdentifier."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def distribution_point(url: str) -> x509.DistributionPoint:
    """A distribution point that is one address."""
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)


def _where_status_is_found(profile: Profile, settings: AuthoritySettings) -> Extensions:
    if profile.ocsp_nocheck:
        return [(x509.OCSPNoCheck(), False)]
    extensions: Extensions = []
    access = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in (
            (AuthorityInformationAccessOID.OCSP, settings.ocsp_url),
            (AuthorityInformationAccessOID.CA_ISSUERS, settings.issuer_url),
        )
        if url
    ]
    if access:
        extensions.append((x509.AuthorityInformationAccess(access), False))
    if settings.crl_url:
        extensions.append((x509.CRLDistributionPoints([distribution_point(settings.crl_url)]), False))
    if settings.delta_url:
        extensions.append((x509.FreshestCRL([distribution_point(settings.delta_url)]), False))
    return extensions


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: CertificatePublicKeyTypes,
    serial: int,
    validity: tuple[int, int],
    extensions: Extensions,
    signer: SigningKey,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(utc(validity[0]))
        .not_valid_after(utc(validity[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return signer.sign_certificate(builder)
