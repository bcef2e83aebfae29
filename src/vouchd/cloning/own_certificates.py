"""The certificates that are this member's own renew themselves: TLS server, subsystem, audit signing.

The steps, each of which may be cut short and is gone on with, since what is done stands in a file of `alias/`:

    request    a key, and a request for its certificate (NAME-2.key, NAME-2.csr)
    stage      certified, tried out as by `vouchd certs install`, and kept beside the request (NAME-2.next)
    tell       the record of this member names it beside the one in use (`renewal.OwnRecord`), of those that others see
    switch     when every member that can be reached knows it: CS.cfg names it (NAME-2.pem), and the process takes it on

Nobody refuses this member in between: what it shows before the switch and after it is in the record at either time. No
connection ends with the switch, and the process goes on. The audit log is signed by the key before up to the record
that names the next one, which is how who verifies it comes from one to the other (`audit.trust`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cloning.enrolling import RENEWAL
from vouchd.core.facts import Caller
from vouchd.errors import ConfigError, SigningError
from vouchd.files import read_file
from vouchd.instance.certificates.enrolment import due_at, enrol
from vouchd.instance.certificates.in_use import RENEWED, CertificatesInUse
from vouchd.instance.certificates.places import FIXED, SystemCertificate, find, staged
from vouchd.instance.certificates.service import Certificates
from vouchd.pkix.certs import not_before
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.signing_keys import RenewalSettings
from vouchd.signing.sealing import public_key_hash

_log = logging.getLogger(__name__)


class OwnCertificates:
    """`lacking` names the members that do not know a certificate (DER) of that name yet: nobody, for most.

    `disowned` are the public keys, by SHA-256 (hex), that the set uses no more: a certificate for one of them is due.
    """

    def __init__(
        self,
        layout: Layout,
        certificates: Certificates,
        in_use: CertificatesInUse,
        lacking: Callable[[str, bytes], Sequence[str]],
        disowned: Callable[[], Collection[str]],
        caller: Caller,
    ) -> None:
        self._disowned = disowned
        self._layout = layout
        self._certificates = certificates
        self._in_use = in_use
        self._lacking = lacking
        self._caller = replace(caller, name=RENEWAL)
        self._waiting: dict[str, str] = {}

    def concerns(self, name: str) -> bool:
        """See Renewable."""
        return name in RENEWED

    def due(self, renewal: RenewalSettings, settings: Settings) -> int | None:
        """See Renewable."""
        certificate = find(settings, renewal.nickname).certificate
        if certificate is None:
            return None
        if self._is_disowned(certificate):
            return not_before(certificate)
        return due_at(certificate, renewal, own_host(settings))

    def _is_disowned(self, one: x509.Certificate | x509.CertificateSigningRequest) -> bool:
        return public_key_hash(one) in self._disowned()

    def waiting(self, name: str) -> str:
        """See Renewable."""
        return self._waiting.get(name, "")

    def renew(self, renewal: RenewalSettings, settings: Settings, now: int) -> bool:
        """See Renewable."""
        name = renewal.nickname
        place, next_one = find(settings, name), staged(self._layout.alias, name)
        if next_one is None:
            due = self.due(renewal, settings)
            if due is not None and now < due:
                self._waiting.pop(name, None)
                return False
            self._stage(place, renewal, settings)
            next_one = staged(self._layout.alias, name)
        return next_one is not None and self._switch(place, *next_one)

    def _stage(self, place: SystemCertificate, renewal: RenewalSettings, settings: Settings) -> None:
        pending = self._certificates.pending(place.name, self._caller)
        if not pending and place.certificate is None:
            raise ConfigError(
                f"{place.name} has no certificate that another one could follow",
                hint=f"vouchd certs request {place.name}, which says whose it is to be",
            )
        usable = [path for path in pending if not self._is_disowned(x509.load_pem_x509_csr(read_file(path)))]
        path = usable[-1] if usable else self._request(place, renewal)
        answer = enrol(renewal, FIXED[place.name][0], read_file(path), settings, again=place.certificate is not None)
        self._certificates.stage(place.name, answer, self._caller)
        _log.info("%s: its next certificate has come", place.name)

    def _request(self, place: SystemCertificate, renewal: RenewalSettings) -> Path:
        new_key = renewal.new_key or (place.certificate is not None and self._is_disowned(place.certificate))
        return self._certificates.request(place.name, self._caller, same_key=not new_key)

    def _switch(self, place: SystemCertificate, path: Path, bundle: Sequence[x509.Certificate]) -> bool:
        name, leaf = place.name, bundle[0]
        if leaf != place.certificate:
            lacking = self._lacking(name, leaf.public_bytes(Encoding.DER))
            self._waiting[name] = f"not known yet to {', '.join(lacking)}" if lacking else ""
            if lacking:
                return False
            self._install(name, path)
        self._in_use.take_on(self._layout, name)
        path.unlink(missing_ok=True)
        self._waiting.pop(name, None)
        _log.info("%s: its next certificate is in use", name)
        return True

    def _install(self, name: str, path: Path) -> None:
        try:
            done = self._certificates.install(name, read_file(path), self._caller)
        except SigningError:
            path.unlink(missing_ok=True)  # it will not do any more: another one is had
            raise
        for warning in done.warnings:
            _log.warning("%s: %s", name, warning)


def own_host(settings: Settings) -> str:
    """By which the moments of this host are told from those of others."""
    return settings.of_set.host or socket.gethostname()
