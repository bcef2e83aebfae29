"""Certificates are renewed by themselves: a share of their life after their beginning.

What is renewed is of two kinds, with one rhythm: the signers of the set, by whoever keeps the facts, and the own
certificates of each member (`own_certificates`). The next key is requested as by an administrator, certified in the way
that the settings say, and installed. What is asked for stands in the facts or in a file: an attempt that failed, or was
cut short, goes on with the same key and request, after a pause that grows. Hosts that were set up on one day do not all
ask at once: each adds its own part of a twentieth of the life, by a hash of its host and the name, so that everybody
can work it out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cloning.signers import SignerRequest, Signers
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Clock
from vouchd.core.signer_facts import Keyring, SignerVersion
from vouchd.errors import ClientError, ConfigError, RefusedForNow, VouchdError
from vouchd.instance.certificates.enrolment import due_at, enrol
from vouchd.instance.certificates.places import FIXED
from vouchd.instance.report import RenewalReport
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.pem import read_bundle
from vouchd.pkix.purposes import Purpose
from vouchd.settings.declared import Settings
from vouchd.settings.signing_keys import EnrolmentWay, RenewalSettings

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60, 3600

RENEWAL = "renewal"


class Renewable(Protocol):
    """A kind of certificates that renew themselves."""

    def concerns(self, name: str) -> bool:
        """Whether a certificate of that name is of this kind, and this member's to renew now."""

    def renew(self, renewal: RenewalSettings, settings: Settings, now: int) -> bool:
        """Do what is due at POSIX time `now`; whether anything was done. Raises: RefusedForNow, VouchdError."""

    def due(self, renewal: RenewalSettings, settings: Settings) -> int | None:
        """When it renews itself next, POSIX seconds; None while there is nothing to work that out from."""

    def waiting(self, name: str) -> str:
        """What the next certificate, which has come, waits for; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """What became of the attempts for one certificate since the last that went well."""

    failures: int = 0
    next_at: int = 0
    why: str = ""


class Enrolling:
    """`settings()` are those of now."""

    def __init__(self, kinds: Sequence[Renewable], settings: Callable[[], Settings], clock: Clock) -> None:
        self._kinds = tuple(kinds)
        self._settings = settings
        self._clock = clock
        self._attempts: dict[str, Attempts] = {}
        self.reports: tuple[RenewalReport, ...] = ()  # what renews itself here, when, and how that goes

    def look(self) -> bool:
        """Renew what is due; whether anything was. Raises: ClientError that names each that could not be."""
        settings = self._settings()
        concerned = self._concerned(settings)
        names = {renewal.nickname for renewal, _ in concerned}
        self._attempts = {name: one for name, one in self._attempts.items() if name in names}
        done = [renewal.nickname for renewal, kind in concerned if self._attempt(renewal, kind, settings)]
        settings = self._settings() if done else settings
        self.reports = tuple(self._report(renewal, kind, settings) for renewal, kind in concerned)
        failing = {name: one.why for name, one in self._attempts.items() if one.why}
        if failing:
            raise ClientError("; ".join(f"{name} cannot be renewed: {why}" for name, why in failing.items()))
        return bool(done)

    def _report(self, renewal: RenewalSettings, kind: Renewable, settings: Settings) -> RenewalReport:
        name, due = renewal.nickname, None
        with suppress(VouchdError):  # that the store is away is told of elsewhere
            due = kind.due(renewal, settings)
        why = self._attempts.get(name, Attempts()).why
        return RenewalReport(name, renewal.way.value, due, why, kind.waiting(name))

    def _concerned(self, settings: Settings) -> list[tuple[RenewalSettings, Renewable]]:
        renewals = [one for one in settings.renewals if one.way is not EnrolmentWay.NOBODY]
        return [(one, kind) for one in renewals for kind in self._kinds if kind.concerns(one.nickname)]

    def _attempt(self, renewal: RenewalSettings, kind: Renewable, settings: Settings) -> bool:
        now, before = self._clock.now(), self._attempts.get(renewal.nickname, Attempts())
        if now < before.next_at:
            return False
        try:
            done = kind.renew(renewal, settings, now)
        except RefusedForNow as error:
            self._attempts[renewal.nickname] = Attempts(next_at=now + _FIRST_PAUSE_SECONDS)
            _log.info("%s: %s", renewal.nickname, error)
            return False
        except VouchdError as error:
            failures = before.failures + 1
            pause = min(_FIRST_PAUSE_SECONDS << min(failures - 1, 10), _LONGEST_PAUSE_SECONDS)
            self._attempts[renewal.nickname] = Attempts(failures, now + pause, str(error))
            return False
        self._attempts.pop(renewal.nickname, None)
        return done


class SignerRenewal:
    """The signers of the set; `conducts()`: whether this member keeps the facts, `me` this one in the set."""

    def __init__(
        self, signers: Signers, conducts: Callable[[], bool], me: Callable[[], Member | None], caller: Caller
    ) -> None:
        self._signers = signers
        self._conducts = conducts
        self._me = me
        self._caller = replace(caller, name=RENEWAL)

    def concerns(self, name: str) -> bool:
        """See Renewable."""
        return name not in FIXED and self._conducts()

    def renew(self, renewal: RenewalSettings, settings: Settings, now: int) -> bool:
        """See Renewable."""
        version = self._due(renewal, self._signers.keyring(self._caller), now)
        if version is None:
            return False
        self._enrol(version, renewal, settings)
        return True

    def due(self, renewal: RenewalSettings, settings: Settings) -> int | None:  # noqa: ARG002  of the set, not of here
        """See Renewable."""
        newest = _newest(self._signers.keyring(self._caller), renewal.nickname)
        return self._due_at(newest, renewal) if newest and newest.certificate_der else None

    def waiting(self, name: str) -> str:  # noqa: ARG002  it is told of with the keyring
        """See Renewable."""
        return ""

    def _due_at(self, version: SignerVersion, renewal: RenewalSettings) -> int:
        me = self._me()
        return due_at(load_certificate(version.certificate_der), renewal, me.host if me else "")

    def _due(self, renewal: RenewalSettings, ring: Keyring, now: int) -> SignerVersion | None:
        """The version whose certificate is to be had now: one that waits for it, else a new one when it is time."""
        newest = _newest(ring, renewal.nickname)
        if newest is None:
            raise ConfigError(f"there is no signer {renewal.nickname}", hint=f"vouchd signer add {renewal.nickname}")
        if not newest.certificate_der:
            return newest
        if now < self._due_at(newest, renewal):
            return None
        wishes = SignerRequest(same_key=not renewal.new_key)
        return self._signers.request(renewal.nickname, wishes, self._caller)

    def _enrol(self, version: SignerVersion, renewal: RenewalSettings, settings: Settings) -> None:
        csr_pem = x509.load_der_x509_csr(version.request_der).public_bytes(Encoding.PEM)
        answer = enrol(renewal, Purpose.OCSP_SIGNING, csr_pem, settings, again=version.number > 1)
        try:
            bundle = read_bundle(answer).certificates
        except ValueError as error:
            raise ClientError(f"what came is no certificate: {error}") from error
        _, doubts = self._signers.install(version.nickname, bundle, self._caller)
        for doubt in doubts:
            _log.warning("signer %s: %s", version.name, doubt)
        _log.info("signer %s has its certificate; the set switches when every member could sign with it", version.name)


def _newest(ring: Keyring, nickname: str) -> SignerVersion | None:
    """The last version that is not retired."""
    return next((one for one in reversed(ring.versions_of(nickname)) if one.retired_at is None), None)
