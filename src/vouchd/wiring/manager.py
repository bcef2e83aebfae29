"""The manager process put together: settings -> everything that runs in it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from vouchd.pkix.purposes import Validity
from vouchd.errors import LifecycleError
from vouchd.agent.server import AgentPart, AgentServices, Running
from vouchd.ee.in_process import InProcessAnswers
from vouchd.sockets import Address
from vouchd.processes.manager import run_manager
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.publication import ManifestPublication
from vouchd.settings import cs_cfg
from vouchd.instance.configuration import Configuration
from vouchd.cloning.following import Following
from vouchd.settings.layout import Layout
from vouchd.instance.locking import quiet
from vouchd.cloning.peers import Peers
from vouchd.settings.reading import settings_from, write_active
from vouchd.settings.declared import Settings
from vouchd.instance.certificates.signers import audit_signer, key_identifiers, load_signers
from vouchd.instance.certificates.places import system_certificates
from vouchd.cloning.verifying import Verifying
from vouchd.audit.keeping import AuditKeeping
from vouchd.clock import SystemClock
from vouchd.processes.logs import set_up_logs
from vouchd.instance.pidfile import running_pid
from vouchd.instance.selftests.results import SelfTestFile, remove_results
from vouchd.cloning.verdicts import read_verification
from vouchd.service.answering import Responder
from vouchd.service.explaining import Explanation, Signers, explain
from vouchd.service.selftests import failures
from vouchd.signing.software import SoftwareSigner
from vouchd.wiring.instance import check_instance, checked_signers
from vouchd.wiring.agent import agent_part
from vouchd.wiring_audit import audit_keeping
from vouchd.wiring_following import following, peers, verifying
from vouchd.wiring.services import Services, open_services
from vouchd.wiring.cloning import mirror_of, notifier_of, replicating, replication_watch, retiring
from vouchd.wiring_sources import pulls
from vouchd.wiring_upkeep import upkeep
from vouchd.wiring.worker import answered_records

_log = logging.getLogger(__name__)

Warn = Callable[[str], None]


def run_instance(layout: Layout, *, warn: Warn) -> None:
    """Be the manager process of the instance until told to stop. Raises: VouchdError when it cannot start."""
    holder = running_pid(layout.pid_file)
    if holder not in {None, os.getpid()}:  # it is this process after a restart
        raise LifecycleError(f"this instance is already running, process {holder}", hint="stop it with `vouchd stop`")
    config = cs_cfg.read(layout.cs_cfg)
    settings = settings_from(config, layout.root)
    keys = checked_signers(layout, settings, warn)
    write_active(layout, config)
    set_up_logs()
    clock = SystemClock()
    with open_services(layout, settings) as found:
        for failed in failures(found.self_tests().run_startup()):
            warn(failed)
        publication = ManifestPublication(
            found.store, found.indexing, layout.index, lambda: quiet(layout.ingest_lock), lambda: members.behind
        )
        publication.current()
        members = peers(
            layout,
            settings,
            found.store,
            found.membership,
            lambda: (point.epoch for served in publication.state.authorities for point in served.points),
            clock,
            [served.authority.id for served in publication.state.authorities if served.behind],
        )
        keeping = audit_keeping(
            found.audit, audit_signer(layout, settings), settings.audit, clock, key_identifiers(settings)
        )
        follow, compare = _following(found, members), _verifying(found, publication, members)
        agent = _agent_part(found, publication, clock, keeping, members, compare, keys)
        replication = replication_watch(layout, settings, found.store, clock)
        works = upkeep(layout, settings, found.store, follow, members, replication, compare)
        run_manager(
            replace(
                _manager_settings(layout, settings, keeping),
                upkeep=works,
                peers=members,
                replication=replication,
                verification=lambda: read_verification(layout.verification),
                notifier=notifier_of(found.store),
            ),
            publication,
            pulls(layout, settings, found.ingesting, found.ingest_lock, clock),
            clock,
            agent,
        )
    remove_results(layout.selftests)


def _following(found: Services, members: Peers) -> Following | None:
    return following(found.layout, found.settings, found.store, found.indexing, members.master)


def _verifying(found: Services, publication: ManifestPublication, members: Peers) -> Verifying:
    return verifying(found.layout, found.settings, lambda: publication.state, members.others)


def _agent_part(
    found: Services,
    publication: ManifestPublication,
    clock: SystemClock,
    audit: AuditKeeping,
    members: Peers,
    compare: Verifying,
    loaded: Mapping[str, SoftwareSigner] | None = None,
) -> AgentPart | None:
    """The agent port, None while it has no certificate; `loaded` are the signers. Raises: SigningError."""
    layout, settings = found.layout, found.settings
    if not settings.agent.tls.installed:
        _log.warning("agent port off: no TLS server certificate yet, see `vouchd certs list`")
        return None
    keys = loaded or load_signers(settings)
    responder = Responder(publication.state, keys, settings.default_signer, settings.responder)
    records = answered_records(settings.audit, responder)
    answers = InProcessAnswers(responder, records, clock, audit.answered)
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
            answers=answers,
            ingest_lock=found.ingest_lock,
            running=running,
            selftests=found.self_tests(),
            domain=found.domain,
            membership=found.membership,
            mirror=mirror_of(found.store),
            replicate=replicating(layout, settings),
            retire=retiring(layout, settings, found.store),
            master=members.master,
            peers=members,
            verifying=compare,
        )

    def changed() -> None:
        responder.replace(publication.state)

    part = agent_part(layout, settings, found.store, services, changed, audit.sessions)
    return replace(part, halt=responder.halt, counted=answers.snapshot)


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
    with open_services(layout, settings) as found:
        found.self_tests().run_startup(rehearsal=True)
    return settings


def _addresses(settings: Settings) -> tuple[Address, Address]:
    return (settings.ee.host, settings.ee.port), (settings.health.host, settings.health.port)
