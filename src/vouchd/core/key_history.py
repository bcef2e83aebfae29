"""A CA is a name with a history of keys: which certificates are its own, and whose CRLs speak for it.

Certificates of one name (RFC 5280 section 7.1) are one CA: renewals, key rollovers, another spelling, a certificate for
a separate CRL key. What was issued under one of its keys may be revoked by a CRL that another one signed
(RFC 5280 6.3.3 (b)(1), (f)), so a CRL is matched by its issuer's name, and every key of the history may have signed it;
so may a CRL issuer that the operator has named. A CertID is over a name as it was spelt and one key: every pair of a
spelling and a key of the history is this CA.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from cryptography import x509

from vouchd.core.facts import Authority
from vouchd.pkix import certs, names
from vouchd.pkix.crl import CRLHeader
from vouchd.pkix.memo import memo

_REMEMBERED = 1 << 15


def name_of(authority: Authority) -> bytes:
    """DER of the CA's Name as its newest certificate spells it."""
    return certs.name_and_key(authority.certificate_der)[0]


def is_named(authority: Authority, name_der: bytes) -> bool:
    """Whether that Name (DER) is the CA's."""
    return names.same(name_of(authority), name_der)


def pairs(authority: Authority) -> Iterator[tuple[bytes, bytes]]:
    """Each spelling of the name (DER) with each public key's bits: what CertIDs of the CA's certificates are over."""
    known = [(*certs.name_and_key(one), _may_issue(one)) for one in authority.certificates]
    for name in dict.fromkeys(name for name, _, _ in known):
        for key in dict.fromkeys(key for _, key, may_issue in known if may_issue):
            yield name, key


@memo(_REMEMBERED)
def _may_issue(certificate_der: bytes) -> bool:
    """Whether certificates can have been issued with it: a separate CRL key issues none."""
    return is_ca(certs.load_certificate(certificate_der))


class Issuer(NamedTuple):
    """Who issued a certificate: the CA, and the one of its keys (certs.key_id) that signed."""

    authority: Authority
    key: str


def issuer_of(certificate: x509.Certificate, authorities: Iterable[Authority]) -> Issuer | None:
    """The first of the `authorities` that issued the certificate; None: none of them did."""
    for authority in authorities:
        for one in authority.certificates:
            if certs.is_issued_by(certificate, certs.load_certificate(one)):
                return Issuer(authority, certs.key_id(one))
    return None


def issuer_names(authority: Authority) -> frozenset[bytes]:
    """The names, as `names.canonical` has them, under which CRLs for this CA may be issued; of what can be read."""
    return frozenset(
        name for one in (*authority.certificates, *authority.policy.crl_issuers) if (name := _canonical_name(one))
    )


@memo(_REMEMBERED)
def _canonical_name(certificate_der: bytes) -> bytes:
    try:
        return names.canonical(certs.name_and_key(certificate_der)[0])
    except ValueError:
        return b""


def crl_issuers(authority: Authority, header: CRLHeader) -> tuple[bytes, ...]:
    """The certificates (DER) whose keys may have signed the CRL for this CA, the likeliest first; none: it is not its.

    They are the CA's own and those its policy names, where their name is the CRL's issuer. A CRL of another name speaks
    for the CA when it is indirect (RFC 5280 6.3.3 (b)(1)), or when who signs it can speak for nobody else: a
    certificate that the CA issued for its CRLs, which issues none itself (`ca.crl_signing` of a Certificate System).
    The key identifier decides nothing but the order: a certificate may have been renewed with another one, and the
    signature tells.
    """
    own = is_named(authority, header.issuer_name_der)
    candidates = authority.certificates if own else ()
    if own or header.scope.indirect:
        candidates += authority.policy.crl_issuers
    else:
        candidates += tuple(
            one for one in authority.policy.crl_issuers if _signs_for_it_alone(one, authority.certificates)
        )
    named = [one for one in candidates if names.same(certs.name_and_key(one)[0], header.issuer_name_der)]
    return tuple(sorted(dict.fromkeys(named), key=lambda one: not has_key_id(one, header.authority_key_id)))


@memo(1 << 12)
def _signs_for_it_alone(certificate_der: bytes, of_ca: tuple[bytes, ...]) -> bool:
    certificate = certs.load_certificate(certificate_der)
    return not is_ca(certificate) and any(certs.is_issued_by(certificate, certs.load_certificate(one)) for one in of_ca)


def has_key_id(certificate_der: bytes, key_identifier: bytes | None) -> bool:
    """Whether the certificate has that subjectKeyIdentifier, or one of the two is absent."""
    try:
        extensions = certs.load_certificate(certificate_der).extensions
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return True
    return key_identifier in {None, own}


def speaks_for(authority: Authority, issuer_key: str) -> bool:
    """Whether a CRL verified with that key (`certs.key_id`) counts: it may have been taken out of history or policy."""
    issuers = (*authority.certificates, *authority.policy.crl_issuers)
    return not issuer_key or any(certs.key_id(one) == issuer_key for one in issuers)


def with_certificate(authority: Authority, *certificates: bytes) -> Authority:
    """The CA with these certificates (DER) in its history, too; the newest CA certificate comes first."""
    every = sorted({*authority.certificates, *certificates}, key=_rank, reverse=True)
    return replace(authority, certificate_der=every[0], history=tuple(every[1:]))


def without_certificate(authority: Authority, certificate_der: bytes) -> Authority:
    """The CA without that certificate. Raises: ValueError when it has no such or no other certificate of a CA."""
    rest = [one for one in authority.certificates if one != certificate_der]
    if len(rest) == len(authority.certificates):
        raise ValueError("the CA has no such certificate")
    if not any(is_ca(certs.load_certificate(one)) for one in rest):
        raise ValueError("it is the CA's only one")
    return replace(authority, certificate_der=rest[0], history=tuple(rest[1:]))


def united(authorities: Iterable[Authority]) -> tuple[Authority, tuple[Authority, ...]]:
    """One CA in place of several of one name, at least one, and those whose place it takes.

    It is the one with the newest certificate: its id, label and policy stay, and it gains the certificates and the CRL
    issuers of the others. Every member of a set finds the same.
    """
    first, *others = sorted(authorities, key=lambda one: (_rank(one.certificate_der), one.id), reverse=True)
    issuers = dict.fromkeys(issuer for one in (first, *others) for issuer in one.policy.crl_issuers)
    whole = with_certificate(first, *(certificate for one in others for certificate in one.certificates))
    return replace(whole, policy=replace(whole.policy, crl_issuers=tuple(issuers))), tuple(others)


def _rank(certificate_der: bytes) -> tuple[bool, int, int, bytes]:
    certificate = certs.load_certificate(certificate_der)
    return is_ca(certificate), certs.not_before(certificate), certs.not_after(certificate), certificate_der


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether it may issue certificates: basicConstraints with cA, and keyCertSign where there is keyUsage."""
    try:
        constraints = certs.extension(certificate, x509.BasicConstraints)
        usage = certs.extension(certificate, x509.KeyUsage)
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)
