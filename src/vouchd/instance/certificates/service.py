"""An instance's own certificates: listed, requested and installed; the administrator's makes its user."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vouchd.core.facts import Caller, Group
from vouchd.core.ports import AuditSink, Clock, Store
from vouchd.errors import ConfigError, NotFound, SigningError
from vouchd.files import read_file, replace_file, write_new
from vouchd.instance.certificates.installing import Candidate, Installation
from vouchd.instance.certificates.places import (
    ADMIN,
    STAGED,
    SystemCertificate,
    find,
    free_stem,
    pending_requests,
    system_certificates,
)
from vouchd.instance.certificates.requests import certificate_request
from vouchd.instance.certificates.tokens import new_key
from vouchd.instance.locking import config_lock
from vouchd.pkix.certs import not_after
from vouchd.pkix.pem import read_bundle
from vouchd.pkix.purposes import Purpose
from vouchd.pkix.signatures import algorithms_for
from vouchd.service.permission import Action, Permission
from vouchd.service.users import Users
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import read_key
from vouchd.signing.pkcs12 import KeyBag, write_pkcs12

DEFAULT_ALGORITHM = "SHA256withEC"
_SUBJECTS = {
    Purpose.OCSP_SIGNING: "OCSP Signing Certificate",
    Purpose.TLS_SERVER: "localhost",
    Purpose.SUBSYSTEM: "Subsystem Certificate",
    Purpose.AUDIT_SIGNING: "Audit Signing Certificate",
    Purpose.ADMINISTRATOR: "Administrator",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did; `switched` is False when the certificate was in use already, or for a trial run."""

    certificate: SystemCertificate
    warnings: tuple[str, ...]
    switched: bool


class Certificates:
    """Every act passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(
        self, layout: Layout, store: Store, users: Users, permission: Permission, audit: AuditSink, clock: Clock
    ) -> None:
        self._layout = layout
        self._store = store
        self._users = users
        self._permission = permission
        self._audit = audit
        self._clock = clock

    def certificates(self, caller: Caller) -> tuple[SystemCertificate, ...]:
        """All system certificates as CS.cfg names them now. Raises: PermissionDenied, ConfigError."""
        self._permission.allow(caller, Action.LIST_CERTIFICATES, "*")
        return system_certificates(read_settings(self._layout))

    def pending(self, name: str, caller: Caller) -> tuple[Path, ...]:
        """The requests for that name whose certificate has not come, oldest first. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_CERTIFICATES, name)
        return pending_requests(self._layout.alias, name)

    def request(
        self,
        name: str,
        caller: Caller,
        *,
        subject: x509.Name | None = None,
        names: Sequence[x509.GeneralName] = (),
        algorithm: str = "",
        same_key: bool = False,
    ) -> Path:
        """Make a key, or use the present one again, and a request for a certificate; returns the request's file (PEM).

        Subject and alternative names are those of the present certificate when none are given, or of the request before
        where none has come yet. The instance goes on with what it has until `install` takes the certificate in.

        Raises: NotFound; SigningError; ConfigError; PermissionDenied.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, name)
        with config_lock(self._layout.config_lock):
            settings = read_settings(self._layout)
            place = find(settings, name)
            self._require_by_itself(name)
            former = place.certificate or _newest(pending_requests(self._layout.alias, place.name))
            stem = free_stem(self._layout.alias, place.name)
            if same_key:
                key = read_key(place.files.key_file, self._password())
            else:
                path = stem.with_name(f"{stem.name}.key")
                chosen = algorithm or _algorithm(place, settings)
                key = new_key(path, chosen, place.files.key_file, self._password())
            wanted = subject or (former.subject if former else _subject(place.purpose))
            pem = certificate_request(place.purpose, key, wanted, tuple(names) or _names(former))
            path = stem.with_name(f"{stem.name}.csr")
            write_new(path, pem, 0o644)
        detail = {"certificate": name, "request": path.name, "subject": wanted.rfc4514_string()}
        self._audit.record("KEY_GEN_ASYMMETRIC", caller, "success", **detail, new_key=int(not same_key))
        return path

    def install(
        self,
        name: str,
        data: bytes,
        caller: Caller,
        *,
        chain: bytes = b"",
        trusted: Sequence[x509.Certificate] = (),
        trial: bool = False,
    ) -> Installed:
        """Take in the certificate of one of our keys from `data`, and the CAs above it from there and `chain`.

        Both are PEM, DER, base64 or PKCS #7, in any order. Chain, usage, validity and a trial signature are checked, of
        a TLS server a handshake too, of an OCSP signer also that it may answer for its CAs; then CS.cfg is switched
        over. A running instance takes it on when it restarts. `trial` checks only and changes nothing. The chain may
        end in `trusted` where it does not end in a root or a registered CA.

        Raises: NotFound; SigningError; ConfigError; PermissionDenied; and everything stays as it was.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, name)
        bundle = (*certificates_in(data), *(certificates_in(chain) if chain else ()))
        with config_lock(self._layout.config_lock):
            settings = read_settings(self._layout)
            place = find(settings, name)
            authorities, now = self._store.authorities(), self._clock.now()
            installation = Installation(
                self._layout, settings, place, authorities, self._password(), now, tuple(trusted)
            )
            candidate = self._checked(installation, bundle, caller)
            switched = not trial and installation.changes(candidate)
            if switched:
                self._require_by_itself(name)
                installation.switch(candidate)
                self._record(place.name, candidate, caller)
            placed = find(read_settings(self._layout), name)
        if placed.purpose is Purpose.ADMINISTRATOR and not trial:
            _enrol_administrator(self._layout, placed, self._password(), self._users, caller)
        return Installed(placed, candidate.warnings, switched)

    def stage(self, name: str, data: bytes, caller: Caller) -> Path:
        """Try a certificate out as `install` does, and keep it beside its request: it is to be installed later.

        Raises: as `install`.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, name)
        bundle = certificates_in(data)
        with config_lock(self._layout.config_lock):
            settings = read_settings(self._layout)
            place = find(settings, name)
            authorities, now = self._store.authorities(), self._clock.now()
            installation = Installation(self._layout, settings, place, authorities, self._password(), now)
            candidate = self._checked(installation, bundle, caller)
            path = installation.file_for(candidate).with_suffix(STAGED)
            rest = [one for one in bundle if one != candidate.certificate]
            replace_file(
                path, b"".join(one.public_bytes(Encoding.PEM) for one in (candidate.certificate, *rest)), 0o644
            )
        return path

    def _require_by_itself(self, name: str) -> None:
        """Return where no other member has a part in that certificate. Raises: ConfigError."""
        if name in self._store.keyring().nicknames:
            raise ConfigError(
                f"the signer {name} is in the keyring, which all members switch at once",
                hint=f"vouchd signer request {name}, or vouchd signer renew {name}",
            )

    def _checked(self, installation: Installation, bundle: Sequence[x509.Certificate], caller: Caller) -> Candidate:
        name = installation.place.name
        try:
            candidate = installation.check(bundle)
        except SigningError as error:
            self._audit.record("CIMC_CERT_VERIFICATION", caller, "failure", certificate=name, reason=str(error))
            raise
        self._audit.record("CIMC_CERT_VERIFICATION", caller, "success", certificate=name)
        return candidate

    def _record(self, name: str, candidate: Candidate, caller: Caller) -> None:
        certificate = candidate.certificate
        self._audit.record(
            "CONFIG_TRUSTED_PUBLIC_KEY",
            caller,
            "success",
            certificate=name,
            subject=certificate.subject.rfc4514_string(),
            serial=f"{certificate.serial_number:x}",
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=not_after(certificate),
        )

    def _password(self) -> str | None:
        return read_passwords(self._layout.password_conf).get(INTERNAL)


def certificates_in(data: bytes) -> tuple[x509.Certificate, ...]:
    """What somebody sent to be installed. Raises: ConfigError."""
    try:
        return read_bundle(data).certificates
    except ValueError as error:
        raise ConfigError(f"no certificates: {error}", hint="give them as PEM, DER or PKCS #7") from error


def _algorithm(place: SystemCertificate, settings: Settings) -> str:
    """What a new key is for: what is set, else the kind of the present certificate's key."""
    for signer in settings.signers:
        if place.purpose is Purpose.OCSP_SIGNING and signer.nickname == place.name and signer.algorithm:
            return signer.algorithm
    if place.certificate is not None:
        return algorithms_for(place.certificate.public_key())[0]
    return DEFAULT_ALGORITHM


def _subject(purpose: Purpose) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SUBJECTS[purpose])])


def _newest(requests: Sequence[Path]) -> x509.CertificateSigningRequest | None:
    """The request that was made last, if there is one and it can be read."""
    try:
        return x509.load_pem_x509_csr(read_file(requests[-1])) if requests else None
    except ValueError:
        return None


def _names(certificate: x509.Certificate | x509.CertificateSigningRequest | None) -> tuple[x509.GeneralName, ...]:
    if certificate is None:
        return ()
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return ()


_ADMINISTRATORS_GROUPS = (Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS)
_PASSWORD_BYTES = 18


def _enrol_administrator(
    layout: Layout, admin: SystemCertificate, password: str | None, users: Users, caller: Caller
) -> None:
    """Register the administrator's certificate with the user `admin` and write PKCS #12 and password files (0600).

    A user that is there keeps its groups and its other certificates. `password` opens the key file.

    Raises: SigningError; AlreadyExists when the certificate is another user's; PermissionDenied.
    """
    if admin.certificate is None or admin.der is None:
        return
    try:
        users.add_certificate(ADMIN, admin.der, caller)
    except NotFound:
        users.add(ADMIN, caller, full_name="Administrator", groups=_ADMINISTRATORS_GROUPS, certificates=[admin.der])
    key = read_key(admin.files.key_file, password)
    secret = secrets.token_urlsafe(_PASSWORD_BYTES)
    bag = KeyBag(key, admin.certificate, admin.chain, f"vouchd {admin.certificate.subject.rfc4514_string()}")
    replace_file(layout.admin_password, f"{secret}\n".encode(), 0o600)
    write_pkcs12(layout.admin_pkcs12, bag, secret)
