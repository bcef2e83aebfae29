"""The services over one instance's store, for whatever process works on its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext

from vouchd.api.services import Services
from vouchd.audit.former import FormerLog
from vouchd.audit.keeping import AuditKeeping, address_shown
from vouchd.audit.log import AuditLog, Rotation
from vouchd.audit.search import AuditReader
from vouchd.audit.selection import Selection
from vouchd.audit.signing import AuditSigning
from vouchd.audit.traffic import Traffic
from vouchd.clock import SystemClock
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import connector
from vouchd.cloning.directory_account import account_credentials
from vouchd.cloning.doubt_settlement import DoubtSettlement
from vouchd.cloning.followed_store import FollowedStore
from vouchd.cloning.membership import Membership
from vouchd.cloning.proof import MemberKey, member_keys
from vouchd.cloning.registry import SecurityDomain
from vouchd.cloning.set_renewal import SetRenewal
from vouchd.cloning.signers import Signers
from vouchd.core.facts import Member
from vouchd.core.policy import AnswerRecords
from vouchd.core.ports import Clock, Store
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import read_served
from vouchd.index.vouchers import Vouchers
from vouchd.instance.certificates.backup import KeyBackup
from vouchd.instance.certificates.host_tokens import HostTokens
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.certificates.places import SSLSERVER
from vouchd.instance.certificates.service import Certificates
from vouchd.instance.certificates.signers import Checked, KeyMaterial, check_settings, known_signers
from vouchd.instance.configuration import Configuration
from vouchd.instance.locking import ingest_lock
from vouchd.instance.pidfile import running_pid
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.instance.selftests.tests import open_self_tests
from vouchd.service.admitting import Admitting
from vouchd.service.approvals import FourEyes
from vouchd.service.authorities import Authorities, Fitness, KnownSigners, fit_signer, signer_doubts
from vouchd.service.indexing import Indexing
from vouchd.service.known_users import KnownUsers
from vouchd.service.permission import Permission, local_caller
from vouchd.service.selftests import SelfTests
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.users import Users, with_members
from vouchd.settings.audit_log import AuditSettings
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import active_settings, read_settings
from vouchd.signing.software import SoftwareSigner
from vouchd.stores.beliefs import Believed
from vouchd.stores.last_known import RememberingStore
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring.cloning import PEER_SECONDS, ingesting, verifying
from vouchd.wiring.folder import FolderRunning, Hint, user_name
from vouchd.wiring.tracing import open_tracing

# The store put together: settings -> the embedded one, or the one in a directory server.


def open_store(layout: Layout, settings: Settings, in_use: CertificatesInUse | None = None) -> Store:
    """The store that the settings name. A directory is connected to when it is first asked; `in_use`: its own keys.

    Raises: StoreError; ConfigError when there is no password for the directory, or no LDAP library.
    """
    directory = settings.directory
    if directory is None:
        return FollowedStore(settings.store) if settings.of_set.master else SqliteStore(settings.store)
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    used = in_use or CertificatesInUse(settings)
    account = account_credentials(layout, directory, used.now)

    def keys() -> Mapping[str, MemberKey]:
        return member_keys(layout.alias, used.now().agent.tls, read_passwords(layout.password_conf).get(INTERNAL))

    seals = MemberSeals(Believed(layout.believed), keys, SystemClock())
    used.listen(lambda _: seals.read_keys_again(), SSLSERVER)
    return DirectoryStore(
        directory.server, account.bind_dn, account.password, directory.trust_file, seals, account.identities
    )


def seals_of(store: Store) -> MemberSeals | None:
    """What decides what is believed of a store that others write to; None where nobody else does."""
    seals = getattr(store, "seals", None)
    return seals if isinstance(seals, MemberSeals) else None


def doubt_settlement(services: Services) -> DoubtSettlement:
    """What settles the doubts. Raises: ConfigError where nobody else can write into the store."""
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    store, seals = services.store, seals_of(services.store)
    if seals is None or not isinstance(store, DirectoryStore):
        raise ConfigError("this instance keeps its facts in a file of its own, which nobody else writes")
    return DoubtSettlement(store, seals, services.permission, services.audit)


# The audit log put together: settings -> log, signer, what the manager process keeps.


def audit_log(layout: Layout, settings: AuditSettings, clock: Clock) -> AuditLog:
    """The log of the instance at `layout`."""
    rotation = Rotation(settings.max_bytes, settings.max_age_seconds)
    return AuditLog(layout.audit_log, clock, rotation, Selection(settings.events, settings.filters))


def audit_keeping(
    log: AuditLog,
    signer: SoftwareSigner | None,
    settings: AuditSettings,
    clock: Clock,
    signers: Callable[[], Mapping[str, str]] = dict,
    traffic: Traffic | None = None,
) -> AuditKeeping:
    """What the manager process does for the log; `signers` finds out the key identifiers of the OCSP signers."""
    return AuditKeeping(
        log,
        AuditSigning(log, signer, clock) if signer else None,
        clock,
        flush_seconds=settings.flush_seconds,
        sample=settings.sample if settings.answers is AnswerRecords.SAMPLED else 1,
        shown=address_shown(settings.client_address),
        signers=signers,
        expires_seconds=settings.expires_seconds,
        traffic=traffic,
    )


# The services put together, for whatever process works on the folder.


def last_known(layout: Layout, store: Store) -> RememberingStore:
    """The store, or what was served last while it is away; to read from."""
    return RememberingStore(store, layout.index)


@contextmanager
def services(layout: Layout, hint: Hint = lambda _: None) -> Iterator[Services]:
    """The services over the instance at `layout`, whether it runs or not; `hint` is told how to go on.

    Raises: ConfigError, StoreError.
    """
    with open_services(layout, read_settings(layout), hint) as opened:
        yield opened


@contextmanager
def open_services(layout: Layout, settings: Settings, hint: Hint = lambda _: None) -> Iterator[Services]:
    """The services with these settings. Raises: ConfigError, StoreError."""
    in_use = CertificatesInUse(settings)
    store = open_store(layout, settings, in_use)
    try:
        yield _services(layout, settings, in_use, store, hint)
    finally:
        store.close()


def _services(layout: Layout, settings: Settings, in_use: CertificatesInUse, store: Store, hint: Hint) -> Services:
    clock = SystemClock()
    audit = audit_log(layout, settings.audit, clock)
    traffic = Traffic(audit, clock)
    permission = Permission(traffic)
    vouchers = Vouchers(layout.index)
    admitting = Admitting(lambda: read_served(layout.index), clock, open_tracing(settings), vouchers)
    indexing = Indexing(store, IndexFolder(layout.index), admitting)
    known = KnownUsers(lambda: with_members(store.users(), store.members()), layout.known_users, audit)
    users = Users(store, permission, traffic, known, settings.roles.exclusive, store.members)
    certificates = Certificates(layout, store, users, permission, audit, clock)
    membership = Membership(layout, in_use, store, clock)
    running = FolderRunning(
        layout, lambda: store, lambda: indexing, lambda: check_start(layout, KeyMaterial(read_settings(layout))), hint
    )

    def self_tests(
        material: KeyMaterial | None = None, state: ServingState | None = None, proof: StartProof | None = None
    ) -> SelfTests:
        remembered = last_known(layout, store)
        own_indexing = Indexing(remembered, IndexFolder(layout.index), admitting)
        material = material or KeyMaterial(_running_settings(layout, in_use.now()))
        return open_self_tests(layout, material, remembered, own_indexing, permission, audit, clock, state, proof)

    signers = Signers(layout, store, permission, audit, clock, membership.me, membership.require_registrar)
    caller = local_caller(user_name())
    connect = connector(layout, in_use.now, PEER_SECONDS)
    set_renewal = SetRenewal(store, signers, membership, permission, audit, connect, caller, clock)

    return Services(
        layout=layout,
        settings=settings,
        in_use=in_use,
        clock=clock,
        store=store,
        permission=permission,
        four_eyes=FourEyes(store, permission, audit, clock, settings.four_eyes.expire_seconds),
        authorities=Authorities(store, permission, audit, lambda: _fitness(layout, settings, store, clock)),
        indexing=indexing,
        ingesting=ingesting(layout, in_use, store, indexing, permission, audit),
        users=users,
        known_users=known,
        certificates=certificates,
        signers=signers,
        set_renewal=set_renewal,
        keys=KeyBackup(layout, certificates, permission, audit),
        tokens=HostTokens(layout, permission),
        configuration=Configuration(layout, store, permission, audit, clock),
        caller=caller,
        audit=audit,
        traffic=traffic,
        audit_reader=AuditReader(layout.audit_log),
        former_audit=FormerLog.beside(layout.audit_log),
        domain=SecurityDomain(store, permission, audit, clock),
        membership=membership,
        verifying=verifying(layout, in_use, running.state, lambda: _others(store, membership)),
        self_tests=self_tests,
        ingest_lock=lambda: ingest_lock(layout.ingest_lock),
        open_store=open_store,
        running=running,
    )


def _running_settings(layout: Layout, settings: Settings) -> Settings:
    """Those of the manager process where it runs elsewhere; what stands in CS.cfg may have changed since its start."""
    elsewhere = running_pid(layout.pid_file) not in {None, os.getpid()}
    return active_settings(layout) if elsewhere else settings


def _fitness(layout: Layout, settings: Settings, store: Store, clock: Clock) -> Fitness:
    """What decides by the signers there are, and those to come, which of them may answer for a CA."""
    known = known_signers(_running_settings(layout, settings))
    coming = dict.fromkeys(store.keyring().nicknames)  # those whose certificates have not come hold up nobody
    signers = KnownSigners({**coming, **known.certificates}, known.default)
    ready = SignerCertificates({name: der for name, der in signers.certificates.items() if der is not None})
    return Fitness(
        lambda authority: signer_doubts(signers, authority, clock.now()),
        lambda authority: fit_signer(signers, ready, authority, clock.now()),
    )


def _others(store: Store, membership: Membership) -> list[Member]:
    """The members of the set but for this one."""
    me = membership.me()
    return [member for member in store.members() if me is None or member.id != me.id]


# Whether an instance would start: its settings, its keys, its signers for its CAs.


def check_start(
    layout: Layout, material: KeyMaterial, store: Store | None = None, at_once: int = sys.maxsize
) -> Checked:
    """Read the keys as a start does; changes nothing; `store`: the instance's, open; `at_once`: see check_settings.

    Raises: ConfigError, SigningError, StoreError.
    """
    with nullcontext(store) if store else closing(open_store(layout, material.settings)) as opened:
        authorities = last_known(layout, opened).authorities()
        return check_settings(layout, material, authorities, SystemClock().now(), at_once)
