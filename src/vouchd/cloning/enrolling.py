"""Signers are renewed by themselves: a share of their life after their beginning, by whoever keeps the facts.

The next key is requested as by an administrator, certified in the way that the settings say, and installed; then the
set switches as always. What is asked for stands in the facts: an attempt that failed, or was cut short, goes on with
the same key and request, after a pause that grows. Hosts that were set up on one day do not all ask at once: each adds
its own part of a twentieth of the life, by a hash of its host and the nickname, so that everybody can work it out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cloning.signers import SignerRequest, Signers
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Clock
from vouchd.core.signer_facts import Keyring, SignerVersion
from vouchd.errors import ClientError, ConfigError, RefusedForNow, VouchdError
from vouchd.instance.certificates.enrolment import enrol
from vouchd.pkix.certs import load_certificate, not_after, not_before
from vouchd.pkix.pem import read_bundle
from vouchd.pkix.purposes import Purpose
from vouchd.settings.declared import EnrolmentWay, RenewalSettings, Settings

_log = logging.getLogger(__name__)

SPREAD = 20  # a twentieth of the life
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60, 3600
_DENOMINATOR = 1 << 32

RENEWAL = "renewal"


@dataclass(frozen=True, slots=True)
class Attempts:
    """What became of the attempts for one signer since the last that went well."""

    failures: int = 0
    next_at: int = 0
    why: str = ""


class Enrolling:
    """`settings()` are those of now, `conducts()`: whether this member keeps the facts, `me` this one in the set."""

    def __init__(
        self,
        signers: Signers,
        settings: Callable[[], Settings],
        conducts: Callable[[], bool],
        me: Callable[[], Member | None],
        caller: Caller,
        clock: Clock,
    ) -> None:
        self._signers = signers
        self._settings = settings
        self._conducts = conducts
        self._me = me
        self._caller = replace(caller, name=RENEWAL)
        self._clock = clock
        self._attempts: dict[str, Attempts] = {}

    def look(self) -> bool:
        """Renew what is due; whether anything was. Raises: ClientError that names each signer that could not be."""
        settings = self._settings()
        renewals = [one for one in settings.renewals if one.way is not EnrolmentWay.NOBODY]
        if not renewals or not self._conducts():
            self._attempts.clear()
            return False
        done = [one.nickname for one in renewals if self._attempt(one, settings)]
        failing = {name: one.why for name, one in self._attempts.items() if one.why}
        if failing:
            raise ClientError("; ".join(f"the signer {name} cannot be renewed: {why}" for name, why in failing.items()))
        return bool(done)

    def _attempt(self, renewal: RenewalSettings, settings: Settings) -> bool:
        now, before = self._clock.now(), self._attempts.get(renewal.nickname, Attempts())
        if now < before.next_at:
            return False
        try:
            version = self._due(renewal, self._signers.keyring(self._caller), now)
            if version is None:
                self._attempts.pop(renewal.nickname, None)
                return False
            self._enrol(version, renewal, settings)
        except RefusedForNow as error:
            self._attempts[renewal.nickname] = Attempts(next_at=now + _FIRST_PAUSE_SECONDS)
            _log.info("signer %s: %s", renewal.nickname, error)
            return False
        except VouchdError as error:
            failures = before.failures + 1
            pause = min(_FIRST_PAUSE_SECONDS << min(failures - 1, 10), _LONGEST_PAUSE_SECONDS)
            self._attempts[renewal.nickname] = Attempts(failures, now + pause, str(error))
            return False
        self._attempts.pop(renewal.nickname, None)
        return True

    def _due(self, renewal: RenewalSettings, ring: Keyring, now: int) -> SignerVersion | None:
        """The version whose certificate is to be had now: one that waits for it, else a new one when it is time."""
        versions = [one for one in ring.versions_of(renewal.nickname) if one.retired_at is None]
        newest = versions[-1] if versions else None
        if newest is None:
            raise ConfigError(f"there is no signer {renewal.nickname}", hint=f"vouchd signer add {renewal.nickname}")
        if not newest.certificate_der:
            return newest
        me = self._me()
        if now < due_at(newest, renewal, me.host if me else ""):
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


def due_at(version: SignerVersion, renewal: RenewalSettings, host: str) -> int:
    """When a version is to be followed by the next one, POSIX seconds: the same, whoever works it out for that host."""
    certificate = load_certificate(version.certificate_der)
    begin, end = not_before(certificate), not_after(certificate)
    share = int.from_bytes(hashlib.sha256(f"{host}\0{version.nickname}".encode()).digest()[:4])
    life = end - begin
    return begin + life * renewal.after_percent // 100 + life * share // (SPREAD * _DENOMINATOR)
