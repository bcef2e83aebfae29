"""The manager process put together: settings -> everything that runs in it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vouchd.agent.running import OnLoop, RunningManager
from vouchd.agent.server import AgentPart
from vouchd.alerts.alerting import Alerting
from vouchd.alerts.carriers.table import open_carriers
from vouchd.alerts.conditions import Bounds
from vouchd.alerts.ledger import Ledger, Wanting
from vouchd.alerts.notice import instance_name
from vouchd.api.services import Services
from vouchd.audit.keeping import AuditKeeping
from vouchd.clock import SystemClock
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import connector
from vouchd.cloning.following import Following
from vouchd.cloning.keyring import prepare
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.cloning.peers import Peers
from vouchd.cloning.renewal import say_anew
from vouchd.cloning.replicas import ReplicationWatch
from vouchd.cloning.replication import reconcile, replication_watch
from vouchd.cloning.resealing import reseal
from vouchd.cloning.roles import settle
from vouchd.cloning.rotation import Rotation
from vouchd.cloning.verdicts import read_verification
from vouchd.cloning.verifying import Verifying
from vouchd.cloning.watermark import ACCEPTED, STORE, Watermark, of_authorities
from vouchd.core.facts import Epoch, Member
from vouchd.core.ports import CA_KIND, Clock, Store
from vouchd.core.status import ServingState
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.in_process import InProcessAnswers
from vouchd.errors import LifecycleError, SigningError, StoreConflict, StoreUnavailable
from vouchd.hardening import harden
from vouchd.instance.backups import read_backup_record, write_backup_record
from vouchd.instance.certificates.places import system_certificates
from vouchd.instance.certificates.signers import audit_signer, key_identifiers, load_signers
from vouchd.instance.failing_parts import FailingParts
from vouchd.instance.lifecycle import take_fetch_requests
from vouchd.instance.locking import ingest_lock, quiet
from vouchd.instance.pidfile import running_pid
from vouchd.instance.refusals import Refusals
from vouchd.instance.report import FailingPart, RefusedPoint
from vouchd.instance.selftests.results import SelfTestFile, remove_results
from vouchd.instance.signing_sets import SigningWord
from vouchd.pkix.purposes import Validity
from vouchd.processes.logs import set_up_logs
from vouchd.processes.manager import run_manager
from vouchd.processes.publication import ManifestPublication
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.upkeep import Upkeep
from vouchd.processes.workers import SALT
from vouchd.service.explaining import Explanation, Signers, explain
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import source_caller
from vouchd.service.pulling import CRLSource, Pulling, Schedule
from vouchd.service.selftests import failures
from vouchd.service.signer_choice import SignerCertificates
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings, SourceKind, SourceSettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import CERTSYSTEM, read_passwords
from vouchd.settings.reading import settings_from, write_active
from vouchd.signing.software import SoftwareSigner
from vouchd.sockets import Address, raise_descriptor_limit
from vouchd.sources.file import FileSource
from vouchd.sources.http import HTTPSource
from vouchd.sources.ldap import LDAPSource
from vouchd.wiring.agent import agent_part
from vouchd.wiring.cloning import PEER_SECONDS, following, notifier_of, peers, verifying
from vouchd.wiring.instance import check_instance, checked_signers
from vouchd.wiring.keyring import followed_keyring, open_keyring
from vouchd.wiring.services import audit_keeping, last_known, open_services, seals_of
from vouchd.wiring.worker import answered_records, signing_responder

# The CRL sources put together: settings -> what fetches CRLs and takes them in.


def pulls(
    layout: Layout,
    settings: Settings,
    ingesting: Ingesting,
    ingest_lock: Callable[[], AbstractContextManager[None]],
    clock: Clock,
) -> tuple[Pulling, ...]:
    """One for each source of the settings, ready to be driven by the manager process. Raises: ConfigError."""
    passwords = read_passwords(layout.password_conf)

    def pulling(source: SourceSettings) -> Pulling:
        caller = source_caller(source.name, source.url)

        def accept(crl: bytes) -> int | None:
            with ingest_lock():
                epochs = ingesting.accept_crl(crl, source.url, caller, clock.now())
            return min((epoch.next_update for epoch in epochs if epoch.next_update is not None), default=None)

        schedule = Schedule(interval_seconds=source.interval_seconds)
        fetcher = _crl_source(source, layout, passwords)
        return Pulling(source.name, source.url, fetcher, schedule, accept, paused=source.paused)

    return tuple(pulling(source) for source in settings.sources)


def certificate_system(services: Services) -> tuple[Pulling, ...]:
    """What follows the Certificate System that this instance is a clone of, if it is one. Raises: ConfigError."""
    followed = services.settings.certsystem
    if not followed.url:
        return ()
    # Here, because they bring an LDAP library along.
    from vouchd.cloning.certsystem_following import CertificateSystemFollowing  # noqa: PLC0415
    from vouchd.directory.connection import Connections, Credentials, server_of  # noqa: PLC0415

    password = read_passwords(services.layout.password_conf).get(CERTSYSTEM, "")
    server = server_of(followed.url, start_tls=followed.start_tls)
    connections = Connections(server, Credentials(followed.bind_dn, password), followed.trust_file)
    return (
        CertificateSystemFollowing(
            connections, services.store, services.authorities, services.ingesting, services.ingest_lock, services.clock
        ),
    )


def _crl_source(source: SourceSettings, layout: Layout, passwords: Mapping[str, str]) -> CRLSource:
    if source.kind is SourceKind.FILE:
        return FileSource(_file(source.url, layout), max_bytes=source.max_bytes)
    if source.kind is SourceKind.HTTP:
        return HTTPSource(
            source.url,
            timeout_seconds=source.timeout_seconds,
            max_bytes=source.max_bytes,
            trust_file=source.trust_file,
            local_redirects=source.local_redirects,
        )
    return LDAPSource(
        source.url,
        timeout_seconds=source.timeout_seconds,
        max_bytes=source.max_bytes,
        trust_file=source.trust_file,
        bind_dn=source.bind_dn,
        password=passwords.get(f"source.{source.name}", ""),
    )


def _file(url: str, layout: Layout) -> Path:
    """The path that a file URL or a plain path names; a relative one starts at the instance's folder."""
    return layout.root / (unquote(urlsplit(url).path) if url.lower().startswith("file:") else url)


# What the manager process does for the set now and then, put together.

_log = logging.getLogger(__name__)

_ROLE_SECONDS = 1.0
_RECORD_SECONDS = 30.0
_TOPOLOGY_SECONDS = 30.0
_SETTLE_SECONDS = 60.0
_USERS_SECONDS = 60.0
_SEALS_SECONDS = 60.0
_ROTATION_SECONDS = 5.0
_HEALTH_SECONDS = 15.0
_BACKUP_LOOK_SECONDS = 60.0
_LAST_WORDS = 300


def upkeep(
    layout: Layout,
    settings: Settings,
    store: Store,
    following: Following | None,
    peers: Peers,
    replication: ReplicationWatch | None,
    verifying: Verifying,
    role: Callable[[], bool],
    record: Callable[[], bool],
) -> tuple[Upkeep, ...]:
    """What the manager process does again and again for the set."""
    works = [Upkeep("members", settings.of_set.peers_seconds, peers.look)]
    works.append(Upkeep("role", _ROLE_SECONDS, role, on_change=True))
    works.append(Upkeep("own record", _RECORD_SECONDS, record))
    if following is not None:
        # On change too: a master that is back is followed as soon as it is seen, not when the pause is over.
        works.append(Upkeep("following", 0.0, following.wait, on_change=True))
    if settings.directory is not None:
        works.append(Upkeep("replication", _TOPOLOGY_SECONDS, lambda: _agreed(layout, settings, store), on_change=True))
        works.append(Upkeep("tidying", _SETTLE_SECONDS, lambda: _settled(layout, store)))
    if replication is not None:
        works.append(Upkeep("replication health", _HEALTH_SECONDS, replication.look))
    every = settings.of_set.verify_seconds
    if every:
        works.append(Upkeep("verification", every, lambda: verifying.again(every), at_start=False))
    return tuple(works)


def _agreed(layout: Layout, settings: Settings, store: Store) -> bool:
    reconcile(layout, settings, store.members())
    return False


def _settled(layout: Layout, store: Store) -> bool:
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    if isinstance(store, DirectoryStore):
        with ingest_lock(layout.ingest_lock):
            return bool(store.settle(time.time()))
    return False


def _settle_role(opened: Services, peers: Peers) -> bool:
    """Have CS.cfg say the role that this instance has in the set, and restart with it; answers stay as they are."""

    def register(master: Member) -> None:
        opened.domain.promote(master.id, opened.caller, lambda member, _: member.appointment, master)

    if settle(opened.layout, opened.settings, peers.master(), register, _log.warning):
        os.kill(os.getpid(), signal.SIGHUP)
    return False


_log = logging.getLogger(__name__)

Warn = Callable[[str], None]


def _unite_authorities(services: Services, warn: Warn) -> None:
    """Let CAs that an earlier version kept apart, one a key, become one; it is tried again with the next start."""
    try:
        with services.ingest_lock():
            services.authorities.unite_all(services.caller)
    except (StoreUnavailable, StoreConflict) as error:
        warn(f"CAs of one name stay apart for now: {error}")


def run_instance(layout: Layout, *, warn: Warn) -> None:
    """Be the manager process of the instance until told to stop. Raises: VouchdError when it cannot start."""
    holder = running_pid(layout.pid_file)
    if holder not in {None, os.getpid()}:  # it is this process after a restart
        raise LifecycleError(f"this instance is already running, process {holder}", hint="stop it with `vouchd stop`")
    harden()  # before any key is read
    config = cs_cfg.read(layout.cs_cfg)
    if holder is None and followed_keyring(layout, settings_from(config, layout.root)):
        config = cs_cfg.read(layout.cs_cfg)
    settings = settings_from(config, layout.root)
    checked = checked_signers(layout, settings, warn)
    keys = checked.signers.ready
    write_active(layout, config)
    set_up_logs()
    _log.info("up to %d open descriptors", raise_descriptor_limit())
    clock = SystemClock()
    with open_services(layout, settings) as services:
        word = SigningWord(layout.signing_word, writable=True)
        sets = prepare(layout, settings, services.store, word)
        # The pages list the CAs also while the store is away.
        manager_services = replace(services, authorities=services.authorities.over(last_known(layout, services.store)))
        for failed in failures(manager_services.self_tests().run_startup()):
            warn(failed)
        # A clone with an embedded store has the master's facts, and what the master makes of them.
        if settings.directory is not None or settings.refresh_seconds != CLONE_REFRESH_SECONDS:
            _unite_authorities(manager_services, warn)
        if manager_services.indexing.admitting is not None:
            manager_services.indexing.admitting.audit = manager_services.audit
        seals = seals_of(manager_services.store)
        if seals is not None:
            seals.audit = manager_services.audit
        watermark = Watermark(settings.of_set.stale_seconds)
        publication = ManifestPublication(
            manager_services.store,
            manager_services.indexing,
            layout.index,
            lambda: quiet(layout.ingest_lock),
            watermark.late,
            clock,
        )
        publication.current()
        late = [served.authority.id for served in publication.state.authorities if served.behind]
        watermark.resume(late, of_authorities(epochs_of(publication.state)))
        manager_services.indexing.known = partial(watermark.know_of, STORE)
        manager_services.indexing.accepted = lambda epochs: watermark.learn(ACCEPTED, epochs)
        members = peers(
            layout,
            settings,
            manager_services.store,
            manager_services.membership,
            lambda: epochs_of(publication.state),
            clock,
            watermark,
        )
        keeping = audit_keeping(
            manager_services.audit,
            _audit_signer(layout, settings),
            settings.audit,
            clock,
            key_identifiers(keys),
            manager_services.traffic,
        )
        follow, compare = _following(manager_services, members), _verifying(manager_services, publication, members)
        agent = _agent_part(manager_services, publication, clock, keeping, members, compare, keys)
        replication = replication_watch(layout, settings, manager_services.store, clock)
        role = partial(_settle_role, manager_services, members)
        record = partial(
            say_anew, layout, settings, manager_services.store, manager_services.domain, manager_services.caller
        )
        works = upkeep(layout, settings, manager_services.store, follow, members, replication, compare, role, record)
        keyring = open_keyring(manager_services, members, word, sets)
        works += keyring.works
        works += (Upkeep("users", _USERS_SECONDS, manager_services.known_users.look, on_change=True),)
        works += _for_the_directory(manager_services, seals, clock)
        works += own_backups(layout, settings, clock)
        run_manager(
            replace(
                _manager_settings(layout, settings, keeping),
                upkeep=works,
                watermark=watermark,
                peers=members,
                replication=replication,
                verification=lambda: read_verification(layout.verification),
                notifier=notifier_of(manager_services.store),
                failing=partial(_failing, FailingParts(checked, clock), publication),
                waiting_signers=keyring.waiting,
                settled=keyring.member.settle,
                doubtful=lambda: _doubtful(seals, publication),
                backup=partial(read_backup_record, layout.backups),
                alerting=alerting(layout, settings, clock),
            ),
            publication,
            (
                *pulls(layout, settings, manager_services.ingesting, manager_services.ingest_lock, clock),
                *certificate_system(manager_services),
            ),
            clock,
            agent,
        )
    remove_results(layout.selftests)


def own_backups(layout: Layout, settings: Settings, clock: Clock) -> tuple[Upkeep, ...]:
    """The backups that the instance makes by itself, each in a process of its own: it takes memory, and starts a copy.

    What comes of it is in the record that the process writes; it keeps no revocation from being answered.
    """
    if not settings.backup.interval_seconds:
        return ()
    command = [sys.executable, "-m", "vouchd.cli.main", "backup", "--all", "--instance", str(layout.root)]
    foreign = ("NOTIFY_", "WATCHDOG_", "LISTEN_", "VOUCHD_")  # meant for this process

    def look() -> bool:
        last = read_backup_record(layout.backups).tried_at
        if last is not None and 0 <= clock.now() - last < settings.backup.interval_seconds:
            return False
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        done = subprocess.run(  # noqa: S603  our own program
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            words = " ".join(done.stderr.split())[-_LAST_WORDS:] or f"exit code {done.returncode}"
            _log.error("no backup: %s", words)
            record = read_backup_record(layout.backups)
            write_backup_record(
                layout.backups, replace(record, tried_at=record.tried_at or clock.now(), error=record.error or words)
            )
        return False

    return (Upkeep("backup", _BACKUP_LOOK_SECONDS, look),)


def alerting(layout: Layout, settings: Settings, clock: Clock) -> Alerting:
    """What tells people. Raises: StoreUnavailable when what was told of cannot be read."""
    name = instance_name(settings)
    wanting = [Wanting(one.name, one.severity) for one in settings.carriers]
    return Alerting(
        layout,
        Ledger(layout.alerts, name, wanting),
        open_carriers(settings.carriers, read_passwords(layout.password_conf), name),
        clock,
        Bounds(settings.selftests.tolerance_seconds, settings.backup.oldest_seconds),
        settings.selftests.min_free_bytes,
        lambda: read_verification(layout.verification),
    )


def _failing(parts: FailingParts, publication: ManifestPublication) -> tuple[FailingPart, ...]:
    return parts.of(publication.state)


def _for_the_directory(services: Services, seals: MemberSeals | None, clock: Clock) -> tuple[Upkeep, ...]:
    """What keeps the facts in a directory sealed, and the password that servers write into it with the set's own."""
    if seals is None:
        return ()
    layout, settings, store = services.layout, services.settings, services.store
    rotation = Rotation(layout, settings, store, seals, connector(layout, settings, PEER_SECONDS), clock)
    return (
        Upkeep("seals", _SEALS_SECONDS, lambda: bool(reseal(seals, store)), on_change=True),
        Upkeep("replication password", _ROTATION_SECONDS, rotation.look, on_change=True),
    )


def _doubtful(seals: MemberSeals | None, publication: ManifestPublication) -> tuple[RefusedPoint, ...]:
    """What the directory has of CAs, users and members, and is not believed."""
    labels = {served.authority.id: served.authority.label for served in publication.state.authorities}
    return tuple(
        RefusedPoint(
            doubt.identifier if doubt.kind == CA_KIND else "",
            "",
            labels.get(doubt.identifier) or f"{doubt.kind} {doubt.identifier}",
            f"{doubt.why}; see `vouchd directory doubts`",
        )
        for doubt in (seals.doubts if seals else ())
    )


def epochs_of(state: ServingState) -> tuple[Epoch, ...]:
    """The epochs that are answered from."""
    return tuple(point.epoch for served in state.authorities for point in served.points)


def _audit_signer(layout: Layout, settings: Settings) -> SoftwareSigner | None:
    """None too when it cannot be used: the log goes on unsigned, and is told of as such."""
    try:
        return audit_signer(layout, settings)
    except SigningError:
        return None


def _following(services: Services, members: Peers) -> Following | None:
    return following(services.layout, services.settings, services.store, services.indexing, members.master)


def _verifying(services: Services, publication: ManifestPublication, members: Peers) -> Verifying:
    return verifying(services.layout, services.settings, lambda: publication.state, members.others)


def _agent_part(
    manager_services: Services,
    publication: ManifestPublication,
    clock: SystemClock,
    audit: AuditKeeping,
    members: Peers,
    compare: Verifying,
    loaded: Mapping[str, SoftwareSigner] | None = None,
) -> AgentPart | None:
    """The agent port, None while it has no certificate; `loaded` are the signers. Raises: SigningError."""
    settings = manager_services.settings
    if not settings.agent.tls.installed:
        _log.warning("agent port off: no TLS server certificate yet, see `vouchd certs list`")
        return None
    keys = loaded or load_signers(settings)
    responder, signing = signing_responder(manager_services.layout, settings, publication.state)
    records = answered_records(settings.audit, responder)
    groups = ClientGroups(settings.ee.ipv4_prefix, settings.ee.ipv6_prefix, salt=SALT)
    answers = InProcessAnswers(responder, records, clock, audit.take_answers, groups, signing)
    signers = Signers(
        SignerCertificates({name: signer.certificate_der for name, signer in keys.items()}), settings.default_signer
    )

    def explained(authority_id: str, serial: bytes, at: int) -> Explanation:
        return explain(publication.state, settings.responder, signers, authority_id=authority_id, serial=serial, at=at)

    def services(inside: OnLoop, loop: asyncio.AbstractEventLoop) -> Services:
        running = RunningManager(inside, loop, lambda: publication.state, explained, manager_services.ingest_lock)
        return replace(manager_services, verifying=compare, running=running)

    try:
        known = manager_services.known_users.by_certificate
        part = agent_part(manager_services, services, answers, members, audit.sessions, known)
    except SigningError as error:
        _log.error("agent port off: %s", error)
        return None
    return replace(
        part,
        changed=lambda: responder.replace(publication.state),
        halt=responder.halt,
        withhold=responder.withhold,
    )


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
        fetch_requests=lambda: take_fetch_requests(layout),
        log_file=layout.log,
        worker_command=[*python, "vouchd.cli.worker", str(layout.root)],
        restart_command=[*python, "vouchd.cli.main", "run", "--instance", str(layout.root)],
        reread=reread,
        refresh_seconds=settings.refresh_seconds,
        audit=audit,
        selftests=SelfTestFile(layout.selftests).latest,
        certificates={
            one.name: Validity.of(one.certificate) for one in system_certificates(settings) if one.certificate
        },
        refused=Refusals(layout.refused).read,
    )


def _rehearsed(layout: Layout) -> Settings:
    """The settings as they are now, after all that a start would check. Raises: VouchdError."""
    settings = check_instance(layout, warn=lambda _: None)
    with open_services(layout, settings) as services:
        services.self_tests().run_startup(rehearsal=True)
    return settings


def _addresses(settings: Settings) -> tuple[Address, Address]:
    return (settings.ee.host, settings.ee.port), (settings.health.host, settings.health.port)
