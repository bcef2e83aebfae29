"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vouchd.api.checks import Check
from vouchd.audit.search import AuditReader
from vouchd.cloning.membership import Membership
from vouchd.cloning.peers import Peers
from vouchd.cloning.registry import SecurityDomain
from vouchd.cloning.replication import Replicate
from vouchd.cloning.verifying import Verifying
from vouchd.core.facts import Authority, Caller, IssuingPointId, Member
from vouchd.core.ports import Clock, MirrorStore, Store
from vouchd.core.status import ServingState
from vouchd.ee.counters import Snapshot
from vouchd.ee.in_process import InProcessAnswers
from vouchd.errors import ConfigError, SigningError
from vouchd.instance.certificates.service import Certificates
from vouchd.instance.certificates.signers import require_signer
from vouchd.instance.configuration import Configuration
from vouchd.instance.report import InstanceReport
from vouchd.service.authorities import Authorities
from vouchd.service.explaining import Explanation
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.selftests import SelfTests
from vouchd.service.users import Users
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout


@dataclass(frozen=True, slots=True)
class AgentServices:
    """What the handlers of the agent port stand on.

    `explain(authority_id, serial, at)` tells why a serial (DER INTEGER content octets) is answered as it is; `state` is
    what is answered from now; `answers` answers OCSP requests in this process; `ingest_lock()` is to be held, in a
    thread, while a CRL is taken in. `mirror` is the store where others can follow it; `replicate(member, caller, say)`
    fills a member's directory server from this one's; `retire(member)` makes it forget one that has left;
    `master()` is the master as this member knows it, without asking the store; `peers` are the other members as
    they were seen last, and `verifying` compares this one with them.
    """

    layout: Layout
    settings: Settings
    clock: Clock
    store: Store
    permission: Permission
    authorities: Authorities
    indexing: Indexing
    ingesting: Ingesting
    users: Users
    certificates: Certificates
    configuration: Configuration
    audit_reader: AuditReader
    state: Callable[[], ServingState]
    explain: Callable[[str, bytes, int], Explanation]
    answers: InProcessAnswers
    ingest_lock: Callable[[], AbstractContextManager[None]]
    running: Running
    selftests: SelfTests
    domain: SecurityDomain
    membership: Membership
    mirror: MirrorStore | None
    replicate: Replicate
    retire: Callable[[Member], None]
    master: Callable[[], Member | None]
    peers: Peers
    verifying: Verifying

    def take_crl(self, crl: bytes, origin: str, caller: Caller) -> tuple[IssuingPointId, ...]:
        """Take a CRL in, in this thread; the issuing points that have it now. Raises: as `Ingesting.accept_crl`."""
        with self.ingest_lock():
            epochs = self.ingesting.accept_crl(crl, origin, caller, self.clock.now())
        return tuple(epoch.issuing_point for epoch in epochs)

    def add_authority(self, certificate: bytes, caller: Caller, *, label: str = "") -> Authority:
        """Answer for the CA of `certificate` (DER, PEM or base64) if a signer of this instance may.

        Raises: ConfigError when none may, or it is no CA certificate; PermissionDenied.
        """
        self.require_signer(self.authorities.draft(certificate, label=label))
        return self.authorities.add(certificate, caller, label=label)

    def require_signer(self, authority: Authority) -> None:
        """Check that a signer of this instance may answer for the CA: with one that none may it would not start again.

        Raises: ConfigError.
        """
        try:
            require_signer(self.settings, authority, self.clock.now())
        except SigningError as error:  # here it is the CA that does not fit, not the signer
            raise ConfigError(f"no signer of this instance may answer for it: {error}", hint=error.hint) from error


class Running(Protocol):
    """The running instance as the agent port shows it; all times in POSIX seconds."""

    started_at: int

    def report(self) -> InstanceReport:
        """What is served now."""

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks."""

    async def snapshot(self) -> Snapshot:
        """The counters of all workers together: see ee.counters."""

    async def restart(self) -> None:
        """Have the instance restart when the answer to this request is given. Raises: VouchdError when it cannot."""

    async def settle(self, within_seconds: float = 5.0) -> bool:
        """Wait until every worker answers from what the store holds now; False when that took too long."""

    async def newer_than(self, revision: int) -> None:
        """Wait until the store has a higher revision; the caller limits the time."""
