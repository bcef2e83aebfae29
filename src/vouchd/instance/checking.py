"""Whether an instance would start with these settings: its keys, its signers for its CAs, its TLS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vouchd.core.facts import Authority
from vouchd.pkix.purposes import expiry_warning
from vouchd.errors import ConfigError
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.declared import Settings
from vouchd.instance.certificates.signers import audit_signer, check_signers, load_signers
from vouchd.instance.certificates.places import system_certificates
from vouchd.instance.certificates.tls import server_context
from vouchd.signing.software import SoftwareSigner


@dataclass(frozen=True, slots=True)
class Checked:
    """The signers by nickname, loaded, and what is doubtful but allowed, one line each."""

    signers: dict[str, SoftwareSigner]
    doubts: tuple[str, ...]


def check_settings(layout: Layout, settings: Settings, authorities: Iterable[Authority], at: int) -> Checked:
    """Read the key files as a start does; changes nothing.

    Raises: ConfigError, SigningError: an instance that would not start.
    """
    signers = load_signers(settings)
    if not settings.default_signer:
        raise ConfigError(
            f"{layout.cs_cfg}: no signer is named", hint="set ocsp.signing.certnickname to a declared signer"
        )
    doubts = check_signers(signers, settings.default_signer, authorities, at)
    if settings.agent.tls.installed:
        server_context(settings.agent, read_passwords(layout.password_conf).get(INTERNAL), ())
    audit_signer(layout, settings)
    return Checked(signers, (*settings.warnings, *doubts, *_expiry_doubts(settings, at)))


def _expiry_doubts(settings: Settings, at: int) -> tuple[str, ...]:
    """One line for each certificate that ends soon."""
    found = system_certificates(settings)
    ending = ((one.name, expiry_warning(one.certificate, at)) for one in found if one.certificate)
    return tuple(f"the certificate {name} {words}; see `vouchd certs`" for name, words in ending if words)
