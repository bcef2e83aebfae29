"""The services over one instance's store, for whatever process works on its folder."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from vouchd.audit.keeping import AuditKeeping, address_shown
from vouchd.audit.log import AuditLog, Rotation
from vouchd.audit.search import AuditReader
from vouchd.audit.signing import AuditSigning
from vouchd.audit.traffic import Traffic
from vouchd.clock import SystemClock
from vouchd.cloning.followed_store import FollowedStore
from vouchd.cloning.membership import Membership
from vouchd.cloning.registry import SecurityDomain
from vouchd.core.facts import Authority, Caller, Epoch, IssuingPointId
from vouchd.core.policy import AnswerRecords
from vouchd.core.ports import Clock, Store
from vouchd.errors import ConfigError, NotFound
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import read_served
from vouchd.index.steps_back import read_steps_back
from vouchd.instance.certificates.backup import KeyBackup
from vouchd.instance.certificates.service import Certificates
from vouchd.instance.certificates.signers import check_signers, open_signers
from vouchd.instance.locking import ingest_lock
from vouchd.instance.pidfile import running_pid
from vouchd.instance.selftests.tests import open_self_tests
from vouchd.service.admitting import Admitting
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.known_users import KnownUsers
from vouchd.service.permission import Permission, local_caller
from vouchd.service.selftests import SelfTests
from vouchd.service.users import Users
from vouchd.settings.declared import AuditSettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, read_passwords
from vouchd.settings.reading import active_settings, read_settings
from vouchd.signing.software import SoftwareSigner
from vouchd.stores.last_known import RememberingStore
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring.cloning import ingesting

# The store put together: settings -> the embedded one, or the one in a directory server.


def open_store(layout: Layout, settings: Settings) -> Store:
    """The store that the settings name. A directory is connected to when it is first asked.

    Raises: StoreError; ConfigError when there is no password for the directory, or no LDAP library.
    """
    directory = settings.directory
    if directory is None:
        return FollowedStore(settings.store) if settings.of_set.master else SqliteStore(settings.store)
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    password = read_passwords(layout.password_conf).get(INTERNALDB)
    if not password:
        raise ConfigError(
            f"{layout.password_conf}: no password of {directory.bind_dn}",
            hint=f"add a line {INTERNALDB}=PASSWORD, or run `vouchd directory setup`",
        )
    return DirectoryStore(directory.server, directory.bind_dn, password, directory.trust_file)


# The audit log put together: settings -> log, signer, what the manager process keeps.


def audit_log(layout: Layout, settings: AuditSettings, clock: Clock) -> AuditLog:
    """The log of the instance at `layout`."""
    return AuditLog(layout.audit_log, clock, Rotation(settings.max_bytes, settings.max_age_seconds))


def audit_keeping(
    log: AuditLog,
    signer: SoftwareSigner | None,
    settings: AuditSettings,
    clock: Clock,
    signers: Mapping[str, str] | None = None,
    traffic: Traffic | None = None,
) -> AuditKeeping:
    """What the manager process does for the log; `signers` are the key identifiers of the OCSP signers."""
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


# The operating system's account that this process runs under.


def user_name() -> str:
    """Its name, or `uid N` for one without an entry."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user
        return f"uid {os.getuid()}"


@dataclass(frozen=True, slots=True)
class Services:
    """The services over one instance's store, for a process that works on its folder."""

    layout: Layout
    settings: Settings
    store: Store
    authorities: Authorities
    indexing: Indexing
    ingesting: Ingesting
    permission: Permission
    users: Users
    known_users: KnownUsers
    certificates: Certificates
    keys: KeyBackup
    caller: Caller
    audit: AuditLog
    traffic: Traffic
    audit_reader: AuditReader
    domain: SecurityDomain
    membership: Membership

    def ingest_lock(self) -> AbstractContextManager[None]:
        """The lock to hold while a CRL is taken in."""
        return ingest_lock(self.layout.ingest_lock)

    def self_tests(self) -> SelfTests:
        """The self tests, with the settings that the instance runs with when it does. Raises: ConfigError."""
        elsewhere = running_pid(self.layout.pid_file) not in {None, os.getpid()}
        settings = active_settings(self.layout) if elsewhere else self.settings
        known = self.last_known()
        indexing = Indexing(known, IndexFolder(self.layout.index), self.indexing.admitting)
        return open_self_tests(self.layout, settings, known, indexing, self.permission, self.audit, SystemClock())

    def last_known(self) -> RememberingStore:
        """The store, or what was served last while it is away; to read from."""
        return RememberingStore(self.store, self.layout.index)

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
        signers = open_signers(settings)
        if nickname in signers.problems:
            raise signers.problems[nickname]
        return check_signers(signers.ready, settings.default_signer, [authority], SystemClock().now())


@contextmanager
def services(layout: Layout) -> Iterator[Services]:
    """The services over the instance at `layout`, whether it runs or not. Raises: ConfigError, StoreError."""
    with open_services(layout, read_settings(layout)) as found:
        yield found


@contextmanager
def open_services(layout: Layout, settings: Settings) -> Iterator[Services]:
    """The services with these settings. Raises: ConfigError, StoreError."""
    store = open_store(layout, settings)
    try:
        yield _services(layout, settings, store)
    finally:
        store.close()


def _services(layout: Layout, settings: Settings, store: Store) -> Services:
    audit = audit_log(layout, settings.audit, SystemClock())
    traffic = Traffic(audit, SystemClock())
    permission = Permission(traffic)
    admitting = Admitting(lambda: read_served(layout.index), lambda: read_steps_back(layout.index), SystemClock())
    indexing = Indexing(store, IndexFolder(layout.index), admitting)
    known = KnownUsers(store.users, layout.known_users, audit)
    users = Users(store, permission, traffic, known)
    certificates = Certificates(layout, store, users, permission, audit, SystemClock())
    return Services(
        layout=layout,
        settings=settings,
        store=store,
        authorities=Authorities(store, permission, audit),
        indexing=indexing,
        ingesting=ingesting(layout, settings, store, indexing, permission, audit),
        permission=permission,
        users=users,
        known_users=known,
        certificates=certificates,
        keys=KeyBackup(layout, certificates, permission, audit),
        caller=local_caller(user_name()),
        audit=audit,
        traffic=traffic,
        audit_reader=AuditReader(layout.audit_log),
        domain=SecurityDomain(store, permission, audit, SystemClock()),
        membership=Membership(layout, settings, store, SystemClock()),
    )
