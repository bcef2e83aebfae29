"""What an operation stands on: the services over one instance's store, and the instance as it runs, or does not.

One `Services` serves the manager process and a command that works on the folder alike. What differs between the two is
`Running`, a short interface of plain calls that any thread may make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a command that asks over the port loads the table of operations, and none of these
    from vouchd.api.checks import Check
    from vouchd.audit.former import FormerLog
    from vouchd.audit.log import AuditLog
    from vouchd.audit.search import AuditReader
    from vouchd.audit.traffic import Traffic
    from vouchd.cloning.membership import Membership
    from vouchd.cloning.registry import SecurityDomain
    from vouchd.cloning.set_renewal import SetRenewal
    from vouchd.cloning.signers import Signers
    from vouchd.cloning.verifying import Verifying
    from vouchd.core.facts import Caller, Epoch
    from vouchd.core.ports import Clock, Store
    from vouchd.core.status import ServingState
    from vouchd.ee.counters import Snapshot
    from vouchd.instance.certificates.backup import KeyBackup
    from vouchd.instance.certificates.host_tokens import HostTokens
    from vouchd.instance.certificates.in_use import CertificatesInUse
    from vouchd.instance.certificates.service import Certificates
    from vouchd.instance.certificates.signers import KeyMaterial
    from vouchd.instance.configuration import Configuration
    from vouchd.instance.report import InstanceReport
    from vouchd.instance.selftests.start_proof import StartProof
    from vouchd.service.approvals import FourEyes
    from vouchd.service.authorities import Authorities
    from vouchd.service.explaining import Explanation
    from vouchd.service.indexing import Indexing
    from vouchd.service.ingesting import Ingesting
    from vouchd.service.known_users import KnownUsers
    from vouchd.service.permission import Permission
    from vouchd.service.pulling import SourceState
    from vouchd.service.selftests import SelfTests
    from vouchd.service.users import Users
    from vouchd.settings.declared import Settings
    from vouchd.settings.layout import Layout

SETTLE_SECONDS = 5.0


class Running(Protocol):
    """The instance as it runs; all times in POSIX seconds. Its calls may block: on the loop only where that is said."""

    def pid(self) -> int | None:
        """The manager process, None while there is none."""

    def report(self) -> InstanceReport:
        """What is served now; on the loop too. Raises: LifecycleError while it does not run, or is starting."""

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks; on the loop too."""

    def snapshot(self) -> Snapshot:
        """The counters of all workers together: see ee.counters. Raises: LifecycleError while it does not run."""

    def fetch(self, source: str) -> SourceState:
        """Ask that source of CRLs now, and what came of it. Raises: NotFound; LifecycleError: it does not run."""

    def restart(self) -> None:
        """Have it restart with what is there now, soon. Raises: VouchdError when that would not start."""

    def ending(self) -> AbstractContextManager[None]:
        """Within it no CRL is accepted any more; it has stopped then, or does so afterwards, unless that fails."""

    def settle(self, within_seconds: float = SETTLE_SECONDS, epochs: Sequence[Epoch] = ()) -> bool:
        """Wait until every worker answers from what the store holds now, and whether that is these epochs, or newer.

        False when that took too long, none runs, or an epoch of these is not served.
        """

    def state(self) -> ServingState:
        """What is answered from; of an instance that does not run, what it would answer from. On the loop too."""

    def explain(self, authority_id: str, serial: bytes, at: int, key: str) -> Explanation:
        """Why that serial (DER INTEGER content octets) is answered as it is at POSIX time `at`; see explaining."""


class OpenSelfTests(Protocol):
    """Opens the self tests anew."""

    def __call__(
        self, material: KeyMaterial | None = None, state: ServingState | None = None, proof: StartProof | None = None
    ) -> SelfTests:
        """Those of this material, which was just read, and of what was just published; without them both are read.

        `proof` takes what a start leaves to be proved while it answers. Raises: ConfigError.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """The services over one instance's store; `in_use` are the files of its certificates that a running one goes by.

    `caller` is whoever runs this process; `ingest_lock()` is to be held, in a thread, while a CRL is taken in;
    `open_store` opens another store, which the caller closes;
    `self_tests()` go by the settings that the instance runs with, where it does (raises ConfigError); `verifying`
    compares this member with the others.
    """

    layout: Layout
    settings: Settings
    in_use: CertificatesInUse
    clock: Clock
    store: Store
    permission: Permission
    four_eyes: FourEyes
    authorities: Authorities
    indexing: Indexing
    ingesting: Ingesting
    users: Users
    known_users: KnownUsers
    certificates: Certificates
    signers: Signers
    keys: KeyBackup
    tokens: HostTokens
    configuration: Configuration
    caller: Caller
    audit: AuditLog
    traffic: Traffic
    audit_reader: AuditReader
    former_audit: FormerLog
    domain: SecurityDomain
    set_renewal: SetRenewal
    membership: Membership
    verifying: Verifying
    self_tests: OpenSelfTests
    ingest_lock: Callable[[], AbstractContextManager[None]]
    open_store: Callable[[Layout, Settings], Store]
    running: Running
