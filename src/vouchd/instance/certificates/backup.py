"""The instance's keys in PKCS #12: taken out for a clone or a spare, put back.

The file names each key as `vouchd certs list` does. The TLS server's key belongs to its host and the administrator's to
a person, so a backup holds neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink
from vouchd.errors import SigningError, VouchdError
from vouchd.instance.certificates.places import (
    ADMIN,
    AUDIT_SIGNING,
    SSLSERVER,
    SUBSYSTEM,
    SystemCertificate,
    find,
    free_stem,
    numbered,
)
from vouchd.instance.certificates.places import system_certificates as all_of
from vouchd.instance.certificates.service import Certificates, Installed
from vouchd.instance.locking import config_lock
from vouchd.service.permission import Action, Permission
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import read_key, write_key
from vouchd.signing.pkcs12 import KeyBag, KeyFile, key_file
from vouchd.signing.token.keys import TokenKey

NOT_BACKED_UP = (SSLSERVER, ADMIN)
# First word of the Certificate System's nickname, and the name here.
_NICKNAMES = {"subsystemCert": SUBSYSTEM, "auditSigningCert": AUDIT_SIGNING, "Server-Cert": SSLSERVER}
_CHOOSE = "say which is for what: vouchd pkcs12 import FILE NAME=FRIENDLY"


@dataclass(frozen=True, slots=True)
class Exported:
    """A PKCS #12 file, the names of the keys in it, of those whose certificate has not come, and of those on tokens."""

    pkcs12: bytes = field(repr=False)
    names: tuple[str, ...]
    missing: tuple[str, ...]
    on_tokens: tuple[str, ...] = ()


class KeyBackup:
    """Every act passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(self, layout: Layout, certificates: Certificates, permission: Permission, audit: AuditSink) -> None:
        self._layout = layout
        self._certificates = certificates
        self._permission = permission
        self._audit = audit

    def export(self, password: str, caller: Caller, names: Sequence[str] = ()) -> Exported:
        """Those keys with their chains under that password; without names all that a backup holds.

        Keys on tokens stay there. Raises: NotFound; SigningError when a key is missing or does not belong to its
        certificate, or one that is named is on a token; PermissionDenied.
        """
        self._permission.allow(caller, Action.EXPORT_KEYS, ",".join(names) or "*")
        settings = read_settings(self._layout)
        places = self._places(settings, names)
        here = [place for place in places if place.certificate is not None]
        if not here:
            raise SigningError("there is no certificate yet, so nothing to export", hint="see vouchd certs list")
        every = [self._bag(place) for place in here]
        bags = [bag for bag in every if names or not isinstance(bag.key, TokenKey)]
        if not bags:
            raise SigningError("all keys are on tokens, so there is none to export", hint="see vouchd token list")
        pkcs12 = key_file(bags, password)
        exported = tuple(bag.friendly_name for bag in bags)
        self._audit.record("PRIVATE_KEY_EXPORT", caller, "success", certificates=",".join(exported))
        missing = tuple(place.name for place in places if place.certificate is None)
        return Exported(pkcs12, exported, missing, tuple(bag.friendly_name for bag in every if bag not in bags))

    def _places(self, settings: Settings, names: Sequence[str]) -> list[SystemCertificate]:
        if names:
            places = [find(settings, name) for name in dict.fromkeys(names)]
            for place in places:
                if place.certificate is None and not place.problem:
                    raise SigningError(f"the certificate of {place.name} has not come yet")
        else:
            places = [place for place in all_of(settings) if place.name not in NOT_BACKED_UP]
        for place in places:
            if place.problem:
                raise SigningError(place.problem)
        return places

    def _bag(self, place: SystemCertificate) -> KeyBag:
        certificate = place.certificate
        if certificate is None:
            raise SigningError(f"the certificate of {place.name} has not come yet")
        key = read_key(place.files.key_file, self._password())
        if key.public_key() != certificate.public_key():
            raise SigningError(f"{place.files.key_file}: the key does not belong to the certificate of {place.name}")
        return KeyBag(key, certificate, place.chain, place.name)

    def restore(self, kept: KeyFile, wanted: Mapping[str, str], caller: Caller) -> list[Installed]:
        """Put keys back and switch to them; `wanted` gives for each name here the friendly name in the file.

        Empty: all of the file that a backup holds. Each is tried out as `Certificates.install` does before the first is
        switched to; a key that is here already is not written again.

        Raises: NotFound; SigningError; ConfigError; PermissionDenied; nothing is switched and no key is left behind.
        """
        wanted = wanted or names_in(kept)
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, ",".join(wanted) or "*")
        if not wanted:
            raise SigningError(f"{kept.path}: holds no key that a backup holds", hint="name the keys to import")
        bags = [replace(kept.bag(friendly), friendly_name=name) for name, friendly in wanted.items()]
        written: list[Path] = []
        try:
            for bag in bags:
                written += self._keep(bag)
            for bag in bags:
                self._install(bag, caller, trial=True)
        except VouchdError:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        self._audit.record("PRIVATE_KEY_IMPORT", caller, "success", certificates=",".join(wanted))
        return [self._install(bag, caller, trial=False) for bag in bags]

    def _keep(self, bag: KeyBag) -> list[Path]:
        """Write the key into `alias/`, unless it is there; returns what was written."""
        with config_lock(self._layout.config_lock):
            place = find(read_settings(self._layout), bag.friendly_name)
            password = self._password()
            here = dict.fromkeys((*numbered(self._layout.alias, place.name, ".key"), place.files.key_file))
            public = bag.key.public_key()
            if any(path.exists() and read_key(path, password).public_key() == public for path in here):
                return []
            stem = free_stem(self._layout.alias, place.name)
            path = stem.with_name(f"{stem.name}.key")
            write_key(path, bag.key, password or "")
            return [path]

    def _install(self, bag: KeyBag, caller: Caller, *, trial: bool) -> Installed:
        certificate = bag.certificate.public_bytes(Encoding.PEM)
        above = b"".join(other.public_bytes(Encoding.PEM) for other in bag.others)
        # A backup of an instance that dropped the root when it was installed has none: its own end will do.
        trusted = (bag.certificate, *bag.others)
        return self._certificates.install(
            bag.friendly_name, certificate, caller, chain=above, trusted=trusted, trial=trial
        )

    def _password(self) -> str | None:
        return read_passwords(self._layout.password_conf).get(INTERNAL)


def names_in(kept: KeyFile) -> dict[str, str]:
    """Friendly name by name here, of all keys in the file that a backup holds.

    The Certificate System's nicknames are `subsystemCert cert-pki-tomcat` and the like. Raises: SigningError.
    """
    names: dict[str, str] = {}
    for friendly in (bag.friendly_name for bag in kept.bags):
        first = friendly.split(" ", 1)[0]
        name = _NICKNAMES.get(first, first)
        if name in NOT_BACKED_UP:
            continue
        if name in names:
            raise SigningError(f"{kept.path}: holds more than one key for {name or 'no name'!r}", hint=_CHOOSE)
        if not name:
            raise SigningError(f"{kept.path}: holds a key without a name", hint=_CHOOSE)
        names[name] = friendly
    return names
