"""What the wiring tells the manager process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.alerts.alerting import Alerting
from vouchd.audit.keeping import AuditKeeping
from vouchd.cloning.peers import Peers
from vouchd.cloning.replication_watch import ReplicationWatch
from vouchd.cloning.verdicts import Verification
from vouchd.cloning.watermark import Watermark
from vouchd.core.ports import ChangeNotifier
from vouchd.instance.backups import BackupRecord
from vouchd.instance.refusals import RefusedCRL
from vouchd.instance.report import FailingPart, RefusedPoint, RenewalReport, TokenReport, WaitingApproval, WaitingSigner
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.pkix.purposes import Validity
from vouchd.processes.upkeep import Upkeep
from vouchd.service.selftests import SelfTestResult
from vouchd.service.tracing import NO_TRACING, WorkersTrace
from vouchd.sockets import Address


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """What the manager process needs to know; the wiring fills it in.

    `worker_command` gets the slot number as its last argument. `restart_command` is what the process becomes on SIGHUP.
    `reread` looks at the settings as they are on disk now and returns the addresses of the EE port and of the health
    port; it raises VouchdError when a restart with them would fail.
    """

    ee: Address
    health: Address
    workers: int
    pid_file: Path
    serving_file: Path
    log_file: Path  # where standard output and error go under `vouchd start`
    worker_command: Sequence[str]
    restart_command: Sequence[str]
    reread: Callable[[], tuple[Address, Address]]
    grace_seconds: float = 30.0  # for the workers to finish what they have begun
    refresh_seconds: int = 0  # publish at least this often, changed or not; 0: after changes only
    audit: AuditKeeping | None = None
    selftests: Callable[[], tuple[SelfTestResult, ...]] = tuple  # the newest results
    upkeep: Sequence[Upkeep] = ()
    watermark: Watermark | None = None  # what is known against what is served
    peers: Peers | None = None  # the other members of the set, looked at by a piece of the upkeep
    replication: ReplicationWatch | None = None  # how the directory servers replicate; also of the upkeep
    verification: Callable[[], Verification | None] = lambda: None  # the newest comparison of the members
    notifier: ChangeNotifier | None = None  # tells of changes of the store before they are looked for
    certificates: Mapping[str, Validity] = field(default_factory=dict)  # the instance's own, by name
    refused: Callable[[], tuple[RefusedCRL, ...]] = tuple  # the last CRL of each CA that was not taken
    failing: Callable[[], tuple[FailingPart, ...]] = tuple  # the parts that cannot be used now
    waiting_signers: Callable[[], tuple[WaitingSigner, ...]] = tuple  # why the set does not switch to them yet
    waiting_approvals: Callable[[], tuple[WaitingApproval, ...]] = tuple  # what waits for a second agent
    renewals: Callable[[], tuple[RenewalReport, ...]] = tuple  # the certificates that renew themselves
    fetch_requests: Callable[[], Sequence[str]] = (
        tuple  # the sources that a command on the folder wants to be asked now
    )
    prove: Callable[[], None] = lambda: None  # self tests: raises LifecycleError where nothing is to be answered
    proof: StartProof = field(default_factory=lambda: StartProof(1))  # has what `prove` leaves
    settled: Callable[[], None] = lambda: None  # every worker that answers is one of this process
    proved: Callable[[], None] = lambda: None  # all that the start has to prove
    backup: Callable[[], BackupRecord] = BackupRecord  # the last whole backup
    alerting: Alerting | None = None  # what tells people
    workers_trace: WorkersTrace = field(default_factory=lambda: WorkersTrace(NO_TRACING))  # told what each answers from
    tokens: Callable[[], tuple[TokenReport, ...]] = tuple  # those that keys of signers are on
    doubtful: Callable[[], tuple[RefusedPoint, ...]] = tuple  # what the store has of CAs and users, and is not believed
