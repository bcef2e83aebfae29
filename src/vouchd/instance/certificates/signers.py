"""The signers that the settings name, loaded and checked against the CAs they answer for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509

from vouchd.core.facts import Authority
from vouchd.errors import ConfigError, SigningError
from vouchd.instance.certificates.places import system_certificates
from vouchd.instance.certificates.tls import server_context
from vouchd.pkix.certs import check_signer_of, load_certificate
from vouchd.pkix.purposes import expiry_warning
from vouchd.settings.declared import Settings, SignerSettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.certificates import read_certificates
from vouchd.signing.software import SoftwareSigner


def load_signers(settings: Settings) -> dict[str, SoftwareSigner]:
    """Every signer by nickname. Raises: SigningError, ConfigError."""
    password = read_passwords(Layout(settings.root).password_conf).get(INTERNAL)
    return {signer.nickname: _load(signer, password) for signer in settings.signers}


def _load(signer: SignerSettings, password: str | None) -> SoftwareSigner:
    if not signer.certificate_file.exists():
        request = signer.certificate_file.with_suffix(".csr")
        raise SigningError(
            f"signer {signer.nickname} has no certificate yet",
            hint=f"let the CA certify {request}, then: vouchd certs install {signer.nickname} FILE",
        )
    return SoftwareSigner.load(
        signer.nickname,
        signer.key_file,
        signer.certificate_file,
        password,
        chain_file=signer.chain_file,
        algorithm=signer.algorithm,
    )


def require_signer(settings: Settings, authority: Authority, at: int) -> None:
    """Check that the instance has a signer that may answer for the CA, by the signer's certificate alone.

    A signer whose certificate has not come yet passes. Raises: SigningError, ConfigError.
    """
    nickname = authority.policy.signer or settings.default_signer
    signer = next((one for one in settings.signers if one.nickname == nickname), None)
    if signer is None:
        raise ConfigError(
            f"there is no signer {nickname or '(none named)'} for this CA",
            hint="declare it in CS.cfg: vouchd.signer.NICKNAME.key and .certificate",
        )
    if signer.certificate_file.exists():
        held = read_certificates(signer.certificate_file)[0]
        check_signer_of(held, authority.certificates, at)


def check_signers(
    signers: dict[str, SoftwareSigner], default_signer: str, authorities: Iterable[Authority], at: int
) -> tuple[str, ...]:
    """Check that each CA has a signer that may answer for it at POSIX time `at` (RFC 6960 section 4.2.2.2).

    Returns what is doubtful but allowed, one line each. Raises: SigningError, ConfigError, naming the CA.
    """
    warnings: dict[str, None] = {}
    for authority in authorities:
        nickname = authority.policy.signer or default_signer
        signer = signers.get(nickname)
        if signer is None:
            raise ConfigError(
                f"CA {authority.label}: there is no signer {nickname or '(none named)'}",
                hint="declare it in CS.cfg: vouchd.signer.NICKNAME.key and .certificate",
            )
        try:
            fitness = check_signer_of(load_certificate(signer.certificate_der), authority.certificates, at)
        except SigningError as error:
            raise SigningError(f"CA {authority.label}: signer {nickname}: {error}", hint=error.hint) from error
        warnings.update(dict.fromkeys(f"signer {nickname}: {warning}" for warning in fitness.warnings))
    return tuple(warnings)


def key_identifiers(settings: Settings) -> dict[str, str]:
    """SHA-1 of the public key bits (hexadecimal, RFC 5280 section 4.2.1.2) of each signer that is ready, by nickname.

    Raises: SigningError.
    """
    ready = {one.nickname: one.certificate_file for one in settings.signers if one.certificate_file.exists()}
    keys = {nickname: read_certificates(path)[0].public_key() for nickname, path in ready.items()}
    return {name: x509.SubjectKeyIdentifier.from_public_key(key).digest.hex() for name, key in keys.items()}


def audit_signer(layout: Layout, settings: Settings) -> SoftwareSigner | None:
    """The key that signs the log, None when there is none or by setting. Raises: SigningError, ConfigError."""
    files = settings.audit_signing
    if not (settings.audit.sign and files.installed):
        return None
    password = read_passwords(layout.password_conf).get(INTERNAL)
    return SoftwareSigner.load("audit_signing", files.key_file, files.certificate_file, password)


# Whether an instance would start with these settings: its keys, its signers for its CAs, its TLS.


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
