"""The manager process put together: settings -> everything that runs in it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vouchd.agent.loading import without_trust
from vouchd.alerts.alerting import Alerting
from vouchd.alerts.carriers.table import open_carriers
from vouchd.alerts.conditions import Bounds
from vouchd.alerts.ledger import Ledger, Wanting
from vouchd.alerts.notice import instance_name
from vouchd.api.services import Services
from vouchd.audit.keeping import AuditKeeping
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.keyring import prepare
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.cloning.peers import Peers
from vouchd.cloning.replication import replication_watch
from vouchd.cloning.verdicts import read_verification
from vouchd.cloning.verifying import Verifying
from vouchd.cloning.watermark import ACCEPTED, STORE, Watermark
from vouchd.core.ports import CA_KIND, Clock
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.in_process import InProcessAnswers
from vouchd.errors import LifecycleError, SigningError, StoreConflict, StoreError, StoreUnavailable
from vouchd.hardening import PROGRAM, harden
from vouchd.instance.backups import read_backup_record
from vouchd.instance.certificates.host_tokens import HostTokens
from vouchd.instance.certificates.in_use import RENEWED
from vouchd.instance.certificates.places import AUDIT_SIGNING, SSLSERVER, SystemCertificate, system_certificates
from vouchd.instance.certificates.signers import (
    Checked,
    KeyMaterial,
    key_identifiers,
    token_pools,
)
from vouchd.instance.failing_parts import FailingParts
from vouchd.instance.lifecycle import take_fetch_requests
from vouchd.instance.locking import ingest_lock, quiet
from vouchd.instance.pidfile import running_pid
from vouchd.instance.refusals import Refusals
from vouchd.instance.report import FailingPart, RefusedPoint
from vouchd.instance.selftests.results import SelfTestFile, remove_results
from vouchd.instance.selftests.shares import outcomes
from vouchd.instance.selftests.start_proof import Conclusion, StartProof
from vouchd.instance.signing_sets import SigningWord
from vouchd.pkix.purposes import Validity
from vouchd.processes.heap import keep_large_apart
from vouchd.processes.logs import set_up_logs
from vouchd.processes.manager import Parts, run_manager
from vouchd.processes.publication import ManifestPublication
from vouchd.processes.settings import ManagerSettings
from vouchd.processes.upkeep import Upkeep
from vouchd.processes.worker_process import SALT
from vouchd.service.explaining import Explanation, Signers, explain, silenced
from vouchd.service.selftests import SelfTestName, failures
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords
from vouchd.settings.reading import read_settings, settings_from, write_active
from vouchd.signing.software import SoftwareSigner
from vouchd.sockets import Address, raise_descriptor_limit
from vouchd.wiring.audit import sign_audit_log, succeeding_audit_signer
from vouchd.wiring.cloning import notifier_of, peers, verifying
from vouchd.wiring.instance import checked_signers
from vouchd.wiring.keyring import KeyringPart, followed_keyring, open_keyring
from vouchd.wiring.services import audit_keeping, last_known, open_services, seals_of
from vouchd.wiring.sources import certificate_system, pulls
from vouchd.wiring.tracing import open_tracing
from vouchd.wiring.upkeep import ApprovalWatch, own_backups, works_for_the_set
from vouchd.wiring.worker import answered_records, signing_responder

if TYPE_CHECKING:  # see _agent_part
    from vouchd.agent.running import OnLoop
    from vouchd.agent.server import AgentPart

_log = logging.getLogger(__name__)

Warn = Callable[[str], None]
_TOKENS_SECONDS = 1.0
_UNITE_SECONDS = 2.0  # for who takes a CRL in just now: a start does not wait for one of ten million entries


def _unite_authorities(services: Services, warn: Warn) -> None:
    """Let CAs that an earlier version kept apart, one a key, become one; it is tried again with the next start."""
    try:
        with ingest_lock(services.layout.ingest_lock, wait_seconds=_UNITE_SECONDS):
            services.authorities.unite_all(services.caller)
    except (StoreUnavailable, StoreConflict) as error:
        warn(f"CAs of one name stay apart for now: {error}")


def run_instance(layout: Layout, *, warn: Warn) -> None:
    """Be the manager process of the instance until told to stop. Raises: VouchdError when it cannot start."""
    holder = running_pid(layout.pid_file)
    if holder not in {None, os.getpid()}:  # it is this process after a restart
        raise LifecycleError(f"this instance is already running, process {holder}", hint="stop it with `vouchd stop`")
    harden()  # before any key is read
    keep_large_apart()
    gc.disable()  # until it answers: what a start makes stays, and to look at it again and again is a fifth of it
    config = cs_cfg.read(layout.cs_cfg)
    settings = settings_from(config, layout.root)
    if holder is None and followed_keyring(layout, settings):
        config = cs_cfg.read(layout.cs_cfg)
        settings = settings_from(config, layout.root)
    material = KeyMaterial(settings)
    with open_services(layout, settings) as opened:
        for part in (opened.indexing.admitting, seals_of(opened.store)):
            if part is not None:  # before anything is read: what is doubted is told once
                part.audit = opened.audit
        if opened.indexing.admitting is not None:
            opened.indexing.admitting.outcomes = partial(outcomes, shared=True)
        write_active(layout, config)
        del config  # of ten thousand signers it is ten megabytes
        set_up_logs()
        _log.info("up to %d open descriptors", raise_descriptor_limit())
        word = SigningWord(layout.signing_word, writable=True)
        sets = prepare(layout, settings, opened.store, word)
        # The pages list the CAs also while the store is away.
        services = replace(opened, authorities=opened.authorities.over(last_known(layout, opened.store)))
        plain = _manager_settings(layout, settings)
        keyring = partial(open_keyring, services, word=word, sets=sets)
        rest = partial(_parts, services, material, warn, plain, keyring, is_restart=holder is not None)
        run_manager(plain, rest, services.clock, _agent_address(settings))
    remove_results(layout.selftests)


def _agent_address(settings: Settings) -> Address | None:
    """Where agents are to come, None while there is no certificate for it."""
    agent = settings.agent
    return (agent.host, agent.port) if agent.tls.installed else None


def _parts(
    services: Services,
    material: KeyMaterial,
    warn: Warn,
    plain: ManagerSettings,
    open_ring: Callable[[Peers], KeyringPart],
    *,
    is_restart: bool,
) -> Parts:
    """What the manager process has beside sockets and workers, which read their keys meanwhile.

    Raises: ConfigError, SigningError, StoreError where it is not to start.
    """
    layout, settings = services.layout, services.settings
    # At a restart the workers of before answer for all CAs until all are proved; without a canary none is left to it.
    proves = any(test.name is SelfTestName.CANARY for test in settings.selftests.startup)
    at_once = settings.selftests.at_once if proves and not is_restart else sys.maxsize
    proof = StartProof(at_once)
    checked = checked_signers(layout, material, warn, store=services.store, at_once=at_once)
    validities = _validities(material.certificates)
    services.in_use.listen(lambda now: validities.update(_validities(system_certificates(now))), *RENEWED)
    # A clone with an embedded store has the master's facts, and what the master makes of them.
    if settings.directory is not None or settings.refresh_seconds != CLONE_REFRESH_SECONDS:
        _unite_authorities(services, warn)
    publication, watermark = _publishing(services)
    members = _peers(services, publication, watermark)
    keyring = open_ring(members)
    # After a restart the workers of before have answered all the while: what was known then keeps its bound.
    begin = (lambda: None) if is_restart else watermark.begin
    prove = partial(_prove, services, publication, material, warn, begin, proof)
    plain = replace(plain, certificates=validities, prove=prove, proof=proof)
    return _put_together(services, publication, watermark, members, keyring, checked, plain)


def _put_together(
    services: Services,
    publication: ManifestPublication,
    watermark: Watermark,
    members: Peers,
    keyring: KeyringPart,
    checked: Checked,
    plain: ManagerSettings,
) -> Parts:
    """The manager process of these parts; what its `prove` leaves is in `plain.proof`."""
    layout, settings, clock = services.layout, services.settings, services.clock
    keys, seals = checked.signers.ready, seals_of(services.store)
    keeping = audit_keeping(
        services.audit,
        succeeding_audit_signer(layout, settings, services.audit, clock),
        settings.audit,
        clock,
        partial(key_identifiers, {name: signer.certificate_der for name, signer in keys.items()}),
        services.traffic,
    )
    services.in_use.listen(lambda now: sign_audit_log(keeping, layout, now), AUDIT_SIGNING)
    compare = verifying(layout, services.in_use, lambda: publication.state, members.others)
    replication = replication_watch(layout, settings, services.store, clock)
    parts = FailingParts(checked, clock, lambda: plain.proof.unproved, lambda: plain.proof.waiting)
    works = (*works_for_the_set(services, members, replication, compare, seals), *keyring.works)
    approvals = ApprovalWatch(services.store, clock)
    works += _own_works(services, approvals, parts)
    whole = replace(
        plain,
        audit=keeping,
        upkeep=works,
        watermark=watermark,
        peers=members,
        replication=replication,
        verification=lambda: read_verification(layout.verification),
        notifier=notifier_of(services.store),
        failing=partial(_failing, parts, publication, plain.proof),
        waiting_signers=keyring.waiting,
        waiting_approvals=approvals.waiting,
        renewals=lambda: keyring.enrolling.reports,
        settled=keyring.member.settle,
        proved=checked.signers.let_keys_go,  # it signs nothing beside the proof: the agent port has its own
        doubtful=lambda: _doubtful(seals, publication),
        backup=partial(read_backup_record, layout.backups),
        alerting=_alerting(layout, settings, clock),
        tokens=parts.token_reports,
        workers_trace=publication.workers_trace,
    )
    pulling = (*pulls(layout, settings, services, clock), *certificate_system(services))
    agent = _agent_part(services, publication, keeping, members, compare, keys, plain.proof)
    return Parts(whole, publication, pulling, agent)


def _own_works(services: Services, approvals: ApprovalWatch, parts: FailingParts) -> tuple[Upkeep, ...]:
    """What comes back for this instance, whether it is one of a set or not."""
    settings = services.settings
    works = own_backups(services.layout, settings, services.clock)
    if settings.four_eyes.operations and settings.refresh_seconds != CLONE_REFRESH_SECONDS:
        works += (approvals.upkeep,)  # where they are decided
    if parts.token_reports():
        works += (Upkeep("tokens", _TOKENS_SECONDS, parts.tokens_changed),)
    return works


def _prove(
    services: Services,
    publication: ManifestPublication,
    material: KeyMaterial,
    warn: Warn,
    begin: Callable[[], None],
    proof: StartProof,
) -> None:
    """What precedes the first answer: the self tests of what was published, but for what is left to `proof`.

    Raises: LifecycleError.
    """
    tests = services.self_tests(material, publication.state, proof)
    for failed in failures(tests.run_startup()):
        warn(failed)
    begin()
    gc.enable()

    def conclude(conclusions: Iterable[Conclusion]) -> None:
        for line in proof.doubts:
            warn(line)
        tests.conclude(conclusions)

    proof.begin(conclude)
    material.forget()  # what signs stays with those who sign


def _publishing(services: Services) -> tuple[ManifestPublication, Watermark]:
    """What makes files of the facts for the workers, and what knows how new the facts are anywhere in the set."""
    layout, indexing = services.layout, services.indexing
    watermark = Watermark(services.settings.of_set.stale_seconds)
    publication = ManifestPublication(
        services.store,
        indexing,
        layout.index,
        lambda: quiet(layout.ingest_lock),
        watermark.late,
        services.clock,
        open_tracing(services.settings),
    )
    publication.current()
    late = [served.authority.id for served in publication.state.authorities if served.behind]
    watermark.resume(late, publication.epochs)
    if services.layout.restored.exists():
        _doubt(services, watermark)
    indexing.known = partial(watermark.know_of, STORE)
    indexing.accepted = lambda epochs: watermark.learn(ACCEPTED, epochs)
    return publication, watermark


def _doubt(services: Services, watermark: Watermark) -> None:
    """What a backup brought back is not answered from before the other members were asked, where there are any."""
    sure = partial(services.layout.restored.unlink, missing_ok=True)
    try:
        alone = len(services.store.members()) <= 1
    except StoreError:
        alone = False
    if alone:
        sure()
        return
    _log.warning("restored from a backup: tryLater until every other member of the set was asked for newer CRLs")
    watermark.doubt(sure)


def _peers(services: Services, publication: ManifestPublication, watermark: Watermark) -> Peers:
    store, epochs = services.store, lambda: publication.epochs
    return peers(services.layout, services.in_use, store, services.membership, epochs, services.clock, watermark)


def _alerting(layout: Layout, settings: Settings, clock: Clock) -> Alerting:
    """What tells people."""
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


def _failing(parts: FailingParts, publication: ManifestPublication, proof: StartProof) -> tuple[FailingPart, ...]:
    return (*parts.of(publication.state), *proof.failing(publication.state.by_id))


def _doubtful(seals: MemberSeals | None, publication: ManifestPublication) -> tuple[RefusedPoint, ...]:
    """What the directory has of CAs, users and members, and is not believed."""
    doubts = seals.doubts if seals else ()
    if not doubts:
        return ()
    labels = {served.authority.id: served.authority.label for served in publication.state.authorities}
    return tuple(
        RefusedPoint(
            doubt.identifier if doubt.kind == CA_KIND else "",
            "",
            labels.get(doubt.identifier) or f"{doubt.kind} {doubt.identifier}",
            f"{doubt.why}; see `vouchd directory doubts`",
        )
        for doubt in doubts
    )


def _agent_part(
    manager_services: Services,
    publication: ManifestPublication,
    audit: AuditKeeping,
    members: Peers,
    compare: Verifying,
    keys: Mapping[str, SoftwareSigner],
    proof: StartProof,
) -> AgentPart | None:
    """The agent port, None while it has no certificate; `keys` are the signers. Raises: SigningError."""
    settings = manager_services.settings
    if not settings.agent.tls.installed:
        _log.warning("agent port off: no TLS server certificate yet, see `vouchd certs list`")
        manager_services.in_use.listen(lambda _: os.kill(os.getpid(), signal.SIGHUP), SSLSERVER)
        return None
    # Here, because pages, REST and their library are a third of the program: who has no such port does not load them.
    with without_trust():
        from vouchd.agent.running import RunningManager  # noqa: PLC0415
        from vouchd.wiring.agent import agent_part  # noqa: PLC0415

    responder, signing = signing_responder(manager_services.layout, settings, publication.state)
    records = answered_records(settings.audit, responder)
    groups = ClientGroups(settings.ee.ipv4_prefix, settings.ee.ipv6_prefix, salt=SALT)
    answers = InProcessAnswers(
        responder, records, manager_services.clock, audit.take_answers, groups, signing, settings.ee.allowed
    )
    signers = Signers(
        SignerCertificates({name: signer.certificate_der for name, signer in keys.items()}), settings.default_signer
    )

    tokens = HostTokens(
        manager_services.layout,
        manager_services.permission,
        {place: pool.launcher for place, pool in token_pools(keys).items()},
    )

    def explained(authority_id: str, serial: bytes, at: int, key: str) -> Explanation:
        known = publication.state, settings.responder, signers
        explanation = explain(*known, authority_id=authority_id, serial=serial, at=at, key=key)
        why = proof.why(authority_id)
        return silenced(explanation, why) if why else explanation

    def services(inside: OnLoop, loop: asyncio.AbstractEventLoop) -> Services:
        running = RunningManager(inside, loop, lambda: publication.state, explained, manager_services.ingest_lock)
        return replace(manager_services, verifying=compare, running=running, tokens=tokens)

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


def _validities(certificates: Iterable[SystemCertificate]) -> dict[str, Validity]:
    """Of the instance's own certificates by name."""
    return {one.name: Validity.of(one.certificate) for one in certificates if one.certificate}


def _manager_settings(layout: Layout, settings: Settings) -> ManagerSettings:
    """What the process needs to start its workers, and what it is told of the instance without its parts."""

    def reread() -> tuple[Address, Address]:
        return _addresses(_rehearsed(layout))

    ee, health = _addresses(settings)
    return ManagerSettings(
        ee=ee,
        health=health,
        workers=settings.ee.workers or os.cpu_count() or 1,
        pid_file=layout.pid_file,
        serving_file=layout.serving,
        fetch_requests=lambda: take_fetch_requests(layout),
        log_file=layout.log,
        worker_command=[*PROGRAM, "vouchd.cli.worker", str(layout.root)],
        restart_command=[*PROGRAM, "vouchd.cli.main", "run", "--instance", str(layout.root)],
        reread=reread,
        refresh_seconds=settings.refresh_seconds,
        selftests=SelfTestFile(layout.selftests).latest,
        refused=Refusals(layout.refused).read,
    )


def _rehearsed(layout: Layout) -> Settings:
    """The settings as they are now, after all that a start would check. Raises: VouchdError."""
    material = KeyMaterial(read_settings(layout))
    checked_signers(layout, material, warn=lambda _: None)
    with open_services(layout, material.settings) as services:
        services.self_tests(material).run_startup(rehearsal=True)
    return material.settings


def _addresses(settings: Settings) -> tuple[Address, Address]:
    return (settings.ee.host, settings.ee.port), (settings.health.host, settings.health.port)
