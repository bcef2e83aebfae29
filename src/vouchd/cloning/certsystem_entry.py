"""This instance entered in the security domain that a Certificate System's CA hosts, and its CA made to publish here.

May be repeated: an instance that stands in the list is not entered again, a publisher is put in place of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.client.certsystem_domain import OCSP, CertificateSystemDomain
from vouchd.cloning.needs import MemberServices
from vouchd.core.facts import Group
from vouchd.errors import ConfigError
from vouchd.instance.certificates.places import SUBSYSTEM, find
from vouchd.instance.configuration import write_values
from vouchd.pkix.certs import load_certificate

_SOURCE = "certificate-system-ca"
_INTERVAL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an instance stands: the name of the domain, and HOST:PORT as it is listed there."""

    domain: str
    place: str


def enter_domain(services: MemberServices, domain: CertificateSystemDomain, host: str, *, publish: bool) -> Entry:
    """Enter the instance as an OCSP manager of that host; `publish`: have the CA publish here from its next start on.

    Then a source fetches what the CA published while the instance was down, for it says Success and never sends that
    CRL again. Raises: ClientError, PermissionDenied, ConfigError.
    """
    settings = services.settings
    port = settings.agent.port
    name, hosts = domain.hosts()
    if not any((one.kind, one.host, one.secure_port) == (OCSP, host, port) for one in hosts):
        domain.register(host, host, settings.ee.port, port, clone=_is_clone(services))
    if publish:
        _publish(services, domain, host)
    return Entry(name, f"{host}:{port}")


def _is_clone(services: MemberServices) -> bool:
    """Whether it is one, of an instance of ours or of a Certificate System's OCSP manager."""
    me = services.membership.me()
    return bool(services.settings.certsystem.url) or (me is not None and me.clone)


def _publish(services: MemberServices, domain: CertificateSystemDomain, host: str) -> None:
    subsystem = find(services.settings, SUBSYSTEM).certificate
    if subsystem is None:
        raise ConfigError("this instance has no subsystem certificate yet", hint="vouchd certs list")
    publisher = domain.publishing_certificate()
    subject = load_certificate(publisher).subject.rfc4514_string()
    name = "CA-" + domain.url.removeprefix("https://").rstrip("/").replace(":", "-")
    known = {der for one in services.store.users() for der in one.certificates}
    if publisher not in known:
        services.users.add(
            name, services.caller, full_name=subject[:200], groups=[Group.TRUSTED_MANAGERS], certificates=[publisher]
        )
    domain.add_publisher(host, services.settings.agent.port, subsystem.public_bytes(Encoding.DER))
    source = f"vouchd.source.{_SOURCE}"
    values = {
        f"{source}.url": f"{domain.url.rstrip('/')}/ca/ee/ca/getCRL?op=getCRL&crlIssuingPoint=MasterCRL",
        f"{source}.intervalInSec": str(_INTERVAL_SECONDS),
        f"{source}.localRedirects": "false",
    }
    trust = domain.trust_file
    write_values(services.layout, values | ({f"{source}.trust": str(trust.absolute())} if trust else {}))
