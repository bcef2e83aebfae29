"""Our own CA certifies the keys of an instance, when it is made and when its certificates are renewed."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import DAY
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import request_from_csr
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller
from vouchd.errors import ConfigError
from vouchd.files import read_file
from vouchd.instance.certificates.places import FIXED, SSLSERVER
from vouchd.instance.certificates.service import Certificates
from vouchd.instance.certificates.tls import serves_tls
from vouchd.pkix.purposes import Purpose

PROFILES = {
    Purpose.OCSP_SIGNING: ProfileName.OCSP_SIGNING,
    Purpose.TLS_SERVER: ProfileName.SERVER,
    Purpose.SUBSYSTEM: ProfileName.SUBSYSTEM,
    Purpose.AUDIT_SIGNING: ProfileName.AUDIT_SIGNING,
    Purpose.ADMINISTRATOR: ProfileName.USER,
}
_HOST_NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,250}[A-Za-z0-9_])?")
_MAX_COMMON_NAME = 64  # RFC 5280, ub-common-name


def certify(folder: Path, purpose: Purpose, request: bytes, days: int | None = None) -> bytes:
    """PEM of the certificate our CA in `folder` issues for a request, and of the CAs above. Raises: IssuanceError."""
    with CertificateManager(folder) as manager:
        seconds = None if days is None else days * DAY
        wanted = request_from_csr(request, PROFILES[purpose], validity_seconds=seconds)
        record = manager.issue(wanted, SystemClock().now())
        return x509.load_der_x509_certificate(record.der).public_bytes(Encoding.PEM) + manager.chain_pem()


def equip(certificates: Certificates, caller: Caller, names: Sequence[str], ca: Path | None) -> list[Path]:
    """Make the keys of a new instance besides its signer's; our CA in the folder `ca` certifies them.

    `names` are those of the TLS server. Returns the requests that are left for another CA: all of them where ours has
    a key that the TLS library of this host does not know.
    """
    left = []
    if ca is not None and not _serves_tls(ca):
        ca = None
    for name, (purpose, _) in FIXED.items():
        server = name == SSLSERVER
        path = server_request(certificates, caller, names) if server else certificates.request(name, caller)
        if ca is None:
            left.append(path)
            continue
        certificates.install(name, certify(ca, purpose, read_file(path)), caller)
    return left


def _serves_tls(folder: Path) -> bool:
    with CertificateManager(folder) as manager:
        return serves_tls(manager.certificate)


def server_request(certificates: Certificates, caller: Caller, names: Sequence[str]) -> Path:
    """Make the key of the TLS server with these names; returns the request for its certificate."""
    subject, alternative = _server(names)
    return certificates.request(SSLSERVER, caller, subject=subject, names=alternative)


def host_names(names: Sequence[str], host: str | None) -> tuple[str, ...]:
    """The names of the TLS server: those given, else this host's, with that of the address it listens on."""
    this_host = socket.gethostname()
    usual = (*((this_host,) if _HOST_NAME.fullmatch(this_host) else ()), "localhost", "127.0.0.1", "::1")
    named = tuple(names) or usual
    wildcard = host in {None, "", "0.0.0.0", "::"}  # noqa: S104  compared, not bound
    return tuple(dict.fromkeys(named if wildcard else (*named, str(host))))


def _server(names: Sequence[str]) -> tuple[x509.Name, list[x509.GeneralName]]:
    common_name = names[0][:_MAX_COMMON_NAME]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]), [general_name(name) for name in names]


def general_name(name: str) -> x509.GeneralName:
    """A name of the TLS server, host or address. Raises: ConfigError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(name):
        raise ConfigError(f"{name[:100]!r} is not a host name", hint="name the host with --hostname")
    return x509.DNSName(name)
