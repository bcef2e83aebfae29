"""How a CA comes to be: key, certificate and store are made beside its place and moved there whole."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vouchd.ca.authority import SERIAL_BITS, AuthorityFolder, CertificateManager
from vouchd.ca.ca_keys import DEFAULT_KEY_TYPE, SigningKey, generate_key, make_password, signing_key
from vouchd.ca.certification import build_root
from vouchd.ca.facts import DAY, AuthoritySettings
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest, parse_subject
from vouchd.ca.store import CertificateStore
from vouchd.errors import AlreadyExists, IssuanceError
from vouchd.files import write_new
from vouchd.signing.keys import write_key

ROOT_SECONDS = 3650 * DAY
MAX_PERIOD_SECONDS = 366 * DAY


@dataclass(frozen=True, slots=True)
class AuthorityPlan:
    """The CA that is wanted; `parent` None: a self-signed root."""

    subject: str
    key_type: str = DEFAULT_KEY_TYPE
    # None: ten years for a root, the `ca` profile's span below a parent.
    validity_seconds: int | None = None
    path_length: int | None = None
    parent: CertificateManager | None = None
    settings: AuthoritySettings = field(default_factory=AuthoritySettings)


def create_authority(folder: Path, plan: AuthorityPlan, at: int) -> CertificateManager:
    """Make a new CA in `folder` (0700), which must be absent or empty; all of it or nothing is there afterwards.

    Raises: AlreadyExists, IssuanceError.
    """
    subject = parse_subject(plan.subject)
    _check_settings(plan.settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(
            f"{folder} is there already", hint="name another folder with --ca DIR, or move this one away"
        )
    key = generate_key(plan.key_type)
    signer = signing_key(key, plan.settings.signature_algorithm)
    beside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir(mode=0o700)
        _fill(AuthorityFolder(beside), plan, subject, signer, at)
        os.replace(beside, folder)  # noqa: PTH105  rename(2): also over an empty folder
    except OSError as error:
        raise IssuanceError(f"{folder}: {error.strerror}", hint="check the folder above and its free space") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return CertificateManager(folder)


def _fill(paths: AuthorityFolder, plan: AuthorityPlan, subject: x509.Name, signer: SigningKey, at: int) -> None:
    write_key(paths.key, signer.key, make_password(paths.password))
    CertificateStore.create(paths.database, plan.settings).close()
    if plan.parent is None:
        validity = (at, at + (ROOT_SECONDS if plan.validity_seconds is None else plan.validity_seconds))
        if validity[1] <= at:
            raise IssuanceError("a CA must be valid for at least one second")
        serial = secrets.randbits(SERIAL_BITS) or 1
        certificate = build_root(subject, signer, serial, validity, plan.path_length)
    else:
        if subject == plan.parent.certificate.subject:
            raise IssuanceError("the CA would have its issuer's name", hint="give it a subject of its own")
        request = CertificateRequest(
            subject, signer.key.public_key(), ProfileName.CA, (), plan.validity_seconds, plan.path_length
        )
        certificate = x509.load_der_x509_certificate(plan.parent.issue(request, at).der)
        write_new(paths.chain, plan.parent.chain_pem(), 0o644)
    write_new(paths.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _check_settings(settings: AuthoritySettings) -> None:
    for name, seconds in (("full", settings.crl_seconds), ("delta", settings.delta_seconds)):
        if not 1 <= seconds <= MAX_PERIOD_SECONDS:
            raise IssuanceError(f"{name} CRLs for {seconds} seconds", hint=f"from 1 to {MAX_PERIOD_SECONDS} seconds")
    for url in (settings.ocsp_url, settings.crl_url, settings.delta_url, settings.issuer_url):
        if url and (not url.startswith(("http://", "https://", "ldap://")) or not url.isascii() or len(url) > 2048):
            raise IssuanceError(f"address {url[:80]!r}", hint="http://, https:// or ldap://, ASCII")
