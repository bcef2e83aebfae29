"""Settings -> running objects: the only module that names concrete classes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vouchd.core.facts import Authority, Caller, Epoch, IssuingPointId
from vouchd.core.purposes import Validity
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError, LifecycleError, NotFound
from vouchd.http.ee import EEServer
from vouchd.http.listening import Address
from vouchd.http.manager import run_manager
from vouchd.http.managersettings import ManagerSettings
from vouchd.http.publishing import ManifestPublication
from vouchd.http.worker import inherited
from vouchd.http.worker import run_worker as serve_worker
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import load_manifest
from vouchd.instance import cs_cfg
from vouchd.instance.backup import KeyBackup
from vouchd.instance.certificates import Certificates
from vouchd.instance.checking import check_settings
from vouchd.instance.configuration import Configuration
from vouchd.instance.layout import Layout
from vouchd.instance.locking import ingest_lock, quiet
from vouchd.instance.reading import active_settings, read_settings, settings_from, write_active
from vouchd.instance.selftests import open_self_tests
from vouchd.instance.settings import Settings
from vouchd.instance.signers import audit_signer, check_signers, load_signers
from vouchd.instance.systemcerts import system_certificates
from vouchd.ops.account import user_name
from vouchd.ops.audit import AuditLog
from vouchd.ops.auditkeeping import AuditKeeping
from vouchd.ops.auditreading import AuditReader
from vouchd.ops.clock import SystemClock
from vouchd.ops.logs import set_up_logs
from vouchd.ops.pidfile import running_pid
from vouchd.ops.selftests import SelfTestFile, remove_results
from vouchd.service.answering import Responder
from vouchd.service.authorities import Authorities
from vouchd.service.explaining import Explanation, Signers, explain
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission, local_caller
from vouchd.service.selftests import SelfTests, failures
from vouchd.service.users import Users
from vouchd.stores.sqlite import SqliteStore
from vouchd.wiring_audit import answered_records, audit_keeping, audit_log
from vouchd.wiring_sources import pulls

if TYPE_CHECKING:  # it brings aiohttp along
    from vouchd.http.agent import AgentPart

_log = logging.getLogger(__name__)

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Services:
    """The services over one instance's store, for a process that works on its folder."""

    layout: Layout
    settings: Settings
    store: SqliteStore
    authorities: Authorities
    indexing: Indexing
    ingesting: Ingesting
    permission: Permission
    users: Users
    certificates: Certificates
    keys: KeyBackup
    caller: Caller
    audit: AuditLog
    audit_reader: AuditReader

    def ingest_lock(self) -> AbstractContextManager[None]:
        """The lock to hold while a CRL is taken in."""
        return ingest_lock(self.layout.ingest_lock)

    def self_tests(self) -> SelfTests:
        """The self tests, with the settings that the instance runs with when it does. Raises: ConfigError."""
        elsewhere = running_pid(self.layout.pid_file) not in {None, os.getpid()}
        settings = active_settings(self.layout) if elsewhere else self.settings
        return open_self_tests(
            self.layout, settings, self.store, self.indexing, self.permission, self.audit, SystemClock()
        )

    def labels(self) -> dict[str, str]:
        """Label by authority id."""
        return {authority.id: authority.label for authority in self.store.authorities()}

    def issuing_point(self, reference: str, scope_id: str) -> IssuingPointId:
        """The CRL issuing point of the CA that `reference` names. Raises: NotFound."""
        return IssuingPointId(self.authorities.find(reference).id, scope_id)

    def epoch(self, reference: str, scope_id: str) -> Epoch:
        """The current epoch of that issuing point. Raises: NotFound."""
        point = self.issuing_point(reference, scope_id)
        for epoch in self.store.epochs():
            if epoch.issuing_point == point:
                return epoch
        raise NotFound(f"CA {reference} has no CRL of scope {scope_id}", hint="`vouchd crl list` shows those there are")

    def check_signer(self, authority: Authority) -> tuple[str, ...]:
        """Check that the CA has a signer that may answer for it; what is doubtful, one line each.

        A signer whose certificate has not come yet is not checked. Raises: SigningError, ConfigError.
        """
        settings = self.settings
        nickname = authority.policy.signer or settings.default_signer
        running = running_pid(self.layout.pid_file) is not None
        if running and nickname not in {one.nickname for one in active_settings(self.layout).signers}:
            raise ConfigError(f"the running instance has no signer {nickname}", hint="take it on with `vouchd restart`")
        waiting = {one.nickname for one in settings.signers if not one.certificate_file.exists()}
        if nickname in waiting:
            return ()
        return check_signers(load_signers(settings), settings.default_signer, [authority], SystemClock().now())


@contextmanager
def services(layout: Layout) -> Iterator[Services]:
    """The services over the instance at `layout`, whether it runs or not. Raises: ConfigError, StoreError."""
    with _open(layout, read_settings(layout)) as found:
        yield found


@contextmanager
def _open(layout: Layout, settings: Settings) -> Iterator[Services]:
    store = SqliteStore(settings.store)
    try:
        yield _services(layout, settings, store)
    finally:
        store.close()


def _services(layout: Layout, settings: Settings, store: SqliteStore) -> Services:
    audit = audit_log(layout, settings.audit, SystemClock())
    permission = Permission(audit)
    indexing = Indexing(store, IndexFolder(layout.index))
    users = Users(store, permission, audit)
    certificates = Certificates(layout, store, users, permission, audit, SystemClock())
    return Services(
        layout=layout,
        settings=settings,
        store=store,
        authorities=Authorities(store, permission, audit),
        indexing=indexing,
        ingesting=Ingesting(store, indexing, permission, audit),
        permission=permission,
        users=users,
        certificates=certificates,
        keys=KeyBackup(layout, certificates, permission, audit),
        caller=local_caller(user_name()),
        audit=audit,
        audit_reader=AuditReader(layout.audit_log),
    )


def check_instance(layout: Layout, *, warn: Warn) -> Settings:
    """Read settings and keys as a start would; what is doubtful goes to `warn`.

    Raises: ConfigError, SigningError, StoreError: an instance that would not start.
    """
    settings = read_settings(layout)
    _check(layout, settings, warn)
    return settings


def _check(layout: Layout, settings: Settings, warn: Warn) -> None:
    with _open(layout, settings) as found:
        doubts = check_settings(layout, settings, found.store.authorities(), SystemClock().now())
    for doubt in doubts:
        warn(doubt)


def run_instance(layout: Layout, *, warn: Warn) -> None:
    """Be the manager process of the instance until told to stop. Raises: VouchdError when it cannot start."""
    holder = running_pid(layout.pid_file)
    if holder not in {None, os.getpid()}:  # it is this process after a restart
        raise LifecycleError(f"this instance is already running, process {holder}", hint="stop it with `vouchd stop`")
    config = cs_cfg.read(layout.cs_cfg)
    settings = settings_from(config, layout.root)
    _check(layout, settings, warn)
    write_active(layout, config)
    set_up_logs()
    clock = SystemClock()
    with _open(layout, settings) as found:
        for failed in failures(found.self_tests().run_startup()):
            warn(failed)
        publication = ManifestPublication(found.store, found.indexing, layout.index, lambda: quiet(layout.ingest_lock))
        agent = _agent_part(found, publication, clock)
        keeping = audit_keeping(found.audit, audit_signer(layout, settings), settings.audit, clock)
        run_manager(
            _manager_settings(layout, settings, keeping),
            publication,
            pulls(layout, settings, found.ingesting, found.ingest_lock, clock),
            clock,
            agent,
        )
    remove_results(layout.selftests)


def _agent_part(found: Services, publication: ManifestPublication, clock: SystemClock) -> AgentPart | None:
    """The agent port, None while it has no certificate. Raises: SigningError."""
    layout, settings = found.layout, found.settings
    if not settings.agent.tls.installed:
        _log.warning("agent port off: no TLS server certificate yet, see `vouchd certs list`")
        return None
    # Here, because workers and commands start without aiohttp.
    from vouchd.http.agent import AgentServices, Running  # noqa: PLC0415
    from vouchd.wiring_agent import agent_part  # noqa: PLC0415

    keys = load_signers(settings)
    responder = Responder(publication.state, keys, settings.default_signer, settings.responder)
    signers = Signers({name: signer.certificate_der for name, signer in keys.items()}, settings.default_signer)

    def explained(authority_id: str, serial: bytes, at: int) -> Explanation:
        return explain(publication.state, settings.responder, signers, authority_id=authority_id, serial=serial, at=at)

    def services(running: Running) -> AgentServices:
        return AgentServices(
            layout=layout,
            settings=settings,
            clock=clock,
            store=found.store,
            permission=found.permission,
            authorities=found.authorities,
            indexing=found.indexing,
            ingesting=found.ingesting,
            users=found.users,
            certificates=found.certificates,
            configuration=Configuration(layout, found.store, found.permission, found.audit, clock),
            audit_reader=found.audit_reader,
            state=lambda: publication.state,
            explain=explained,
            responder=responder,
            ingest_lock=found.ingest_lock,
            running=running,
            selftests=found.self_tests(),
        )

    part = agent_part(layout, settings, found.store, services, lambda: responder.replace(publication.state))
    return replace(part, halt=responder.halt)


def _manager_settings(layout: Layout, settings: Settings, audit: AuditKeeping) -> ManagerSettings:
    def reread() -> tuple[Address, Address]:
        return _addresses(_rehearsed(layout))

    ee, health = _addresses(settings)
    python = [sys.executable, "-m"]
    return ManagerSettings(
        ee=ee,
        health=health,
        workers=settings.ee.workers or os.cpu_count() or 1,
        pid_file=layout.pid_file,
        serving_file=layout.serving,
        worker_command=[*python, "vouchd.cli.worker", str(layout.root)],
        restart_command=[*python, "vouchd.cli.main", "run", "--instance", str(layout.root)],
        reread=reread,
        refresh_seconds=settings.refresh_seconds,
        audit=audit,
        selftests=SelfTestFile(layout.selftests).latest,
        certificates={
            one.name: Validity.of(one.certificate) for one in system_certificates(settings) if one.certificate
        },
    )


def _rehearsed(layout: Layout) -> Settings:
    """The settings as they are now, after all that a start would check. Raises: VouchdError."""
    settings = check_instance(layout, warn=lambda _: None)
    with _open(layout, settings) as found:
        found.self_tests().run_startup(rehearsal=True)
    return settings


def _addresses(settings: Settings) -> tuple[Address, Address]:
    return (settings.ee.host, settings.ee.port), (settings.health.host, settings.health.port)


def run_worker(layout: Layout, slot: int) -> None:
    """Be the worker process of `slot` until told to drain. Raises: VouchdError when it cannot start."""
    set_up_logs()
    given = inherited()
    if given.slot != slot:
        raise LifecycleError(f"slot {slot} was started with the sockets of slot {given.slot}")
    settings = active_settings(layout)
    nothing = ServingState(0, ())
    responder = Responder(nothing, load_signers(settings), settings.default_signer, settings.responder)
    server = EEServer(responder, settings.ee, records=answered_records(settings.audit, responder))
    serve_worker(server, responder.replace, lambda: load_manifest(layout.index), given, responder.halt)
