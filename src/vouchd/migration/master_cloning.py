"""A clone of a Certificate System's OCSP manager: its keys and settings, its data by replication, its changes followed.

As `cloning.clone_creation` for a master of ours, in named steps that may be repeated. Everything is looked at before
anything is written, here or there; what is written there stands at the top of `directory/one_way.py`. The facts of the
clone are in a store of its own: what is replicated is read and never written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.cloning.clone_creation import INITIALISE_SECONDS, Creation, wait_for
from vouchd.cloning.needs import CheckInstance, Say
from vouchd.cloning.preflight import read_keys
from vouchd.cloning.steps import Step, journal_of
from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory import one_way, replica
from vouchd.directory.account import new_password
from vouchd.directory.config_entries import agreement_name
from vouchd.directory.connection import Connection, Credentials, open_as_manager, server_of, url_of
from vouchd.errors import ConfigError, LifecycleError, NotFound
from vouchd.instance import lifecycle
from vouchd.instance.configuration import write_values
from vouchd.instance.creation import require_free
from vouchd.migration.findings import Verdict, of
from vouchd.migration.importing import CertificateSystemImport, Imported, ImportPlan, OpenInstance
from vouchd.migration.their_settings import TheirSettings, read_their_settings
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import CERTSYSTEM, read_passwords, replace_passwords
from vouchd.settings.reading import read_settings

_CLONES_REFRESH = frozenset({"14400", "21600"})  # what marks a clone there
SUPPLIER = "supplier"  # in the journal: where the agreement is, for taking the clone away


@dataclass(frozen=True, slots=True)
class MasterClonePlan:
    """The master as `imported` names it, and our own directory server with its manager's DN and password."""

    imported: ImportPlan
    directory: DirectorySettings
    manager: tuple[str, str] = field(repr=False)
    responder: str = ""  # the master's OCSP service; empty: as its CS.cfg says
    start: bool = True

    @property
    def layout(self) -> Layout:
        """Where the clone is made."""
        return Layout(self.imported.root)


class MasterCloning(Creation):
    """Makes the clone by `plan`; `say` is told of progress, `verify` compares the running clone with the master."""

    def __init__(
        self,
        plan: MasterClonePlan,
        services: OpenInstance,
        check: CheckInstance,
        verify: Callable[[Layout], tuple[str, ...]],
        say: Say,
    ) -> None:
        super().__init__(plan.layout, check, say)
        self._plan = plan
        self._services = services
        self._verify_answers = verify

    def steps(self) -> tuple[Step, ...]:
        """All steps in order. Raises: AlreadyExists when another instance is there."""
        begun = self.journal.path.exists()
        if not begun:
            require_free(self._layout.root)
        first = () if begun else (Step("preflight", "look before anything is changed", self._preflight),)
        last = (
            Step("start", "start it", self._start),
            Step("verify", "compare it with the master", self._verify),
        )
        return (
            *first,
            Step("instance", "make the instance with the master's keys and settings", self._instance),
            Step("replicate", "fill its directory server from the master's, one way", self._replicate),
            Step("follow", "follow what is replicated", self._follow),
            *(last if self._plan.start else ()),
        )

    # looking

    def _preflight(self) -> None:
        plan = self._plan.imported
        theirs = read_their_settings(plan.config)
        read_keys(plan.pkcs12, plan.pkcs12_password, plan.root.parent)
        check_master(theirs, plan.directory.server, self._plan.directory.server)
        with self._master() as master:
            check_data(master, plan.directory.server)
        with self._own() as own:
            self._check_own(own)
        self._say_what_is_impossible(CertificateSystemImport(plan, self._services).rehearse())

    def _check_own(self, own: Connection) -> None:
        ours, theirs = self._plan.directory.server, self._plan.imported.directory.server
        if one_way.is_empty(own, ours.suffix):
            return
        with self._master() as master:
            known = {one.name for one in replica.agreements(master, theirs.suffix)}
        if agreement_name(ours) not in known:
            raise ConfigError(
                f"{url_of(ours)} has entries below {ours.suffix}, which replication would replace",
                hint="take a directory server without that suffix: vouchd directory create makes one",
            )

    def _say_what_is_impossible(self, done: Imported) -> None:
        """Say what could not be taken over; raises where no CA could."""
        impossible = of(Verdict.IMPOSSIBLE, done.findings)
        for one in impossible:
            self._say(f"{one.what}: {one.why}{f' ({one.hint})' if one.hint else ''}")
        if not any(one.what.startswith("CA ") for one in of(Verdict.TAKEN, done.findings)):
            errors = [one.error for one in impossible if one.error is not None]
            raise errors[0] if errors else NotFound("the master answers for no CA yet", hint="let its CA publish first")

    # making

    def _instance(self) -> None:
        if self._layout.cs_cfg.exists():
            return
        CertificateSystemImport(self._plan.imported, self._services).run()
        theirs = self._plan.imported.directory.server
        self.journal.keep({SUPPLIER: f"{url_of(theirs)}/{theirs.suffix}"})

    def _replicate(self) -> None:
        ours, theirs = self._plan.directory.server, self._plan.imported.directory.server
        passwords = read_passwords(self._layout.password_conf)
        reader, sender = passwords.get(CERTSYSTEM) or new_password(), new_password()
        with self._own() as own:
            restart_for = one_way.prepare_consumer(own, ours, reader, sender)
        replace_passwords(self._layout.password_conf, passwords | {CERTSYSTEM: reader})
        if restart_for:
            raise ConfigError(
                f"{url_of(ours)} has to be restarted for {' and '.join(restart_for)}",
                hint="restart it, then run this command again",
            )
        with self._master() as master:
            one_way.send_to(master, theirs, ours, sender)
            replica.initialise(master, theirs.suffix, ours, timeout_seconds=INITIALISE_SECONDS)

    def _follow(self) -> None:
        directory = self._plan.directory
        theirs = read_their_settings(self._plan.imported.config)
        values = {
            "vouchd.certsystem.url": f"{url_of(directory.server)}/{directory.server.suffix}",
            "vouchd.certsystem.startTLS": "true" if directory.server.transport is Transport.STARTTLS else "false",
            "vouchd.certsystem.responder": self._plan.responder or responder_of(theirs),
        }
        if directory.trust_file is not None:
            values["vouchd.certsystem.trust"] = str(directory.trust_file.absolute())
        write_values(self._layout, values)
        self._check(self._layout, self._say)

    def _verify(self) -> None:
        """Wait until what is replicated was followed, and compare. Raises: LifecycleError."""

        def lack() -> str:
            return "" if self._is_followed() else "the clone does not follow its directory server"

        wait_for(lack, "see `vouchd status` and the log")
        if read_settings(self._layout).certsystem.responder:
            for difference in self._verify_answers(self._layout):
                raise LifecycleError(
                    f"the clone does not answer as the master does: {difference}",
                    hint="`vouchd clone verify` there tells all; mend it and run this command again",
                )

    def _is_followed(self) -> bool:
        report = lifecycle.status(self._layout).report
        return report is not None and any(source.last_success for source in report.sources)

    @contextmanager
    def _master(self) -> Iterator[Connection]:
        other = self._plan.imported.directory
        with _opened(other.server, Credentials(other.bind_dn, other.password), other.trust_file) as connection:
            yield connection

    @contextmanager
    def _own(self) -> Iterator[Connection]:
        own = self._plan.directory
        with _opened(own.server, Credentials(*self._plan.manager), own.trust_file) as connection:
            yield connection


@contextmanager
def _opened(server: DirectoryServer, credentials: Credentials, trust_file: Path | None) -> Iterator[Connection]:
    connection = open_as_manager(server, credentials, trust_file)
    try:
        yield connection
    finally:
        connection.close()


def leave_master(layout: Layout, manager: tuple[str, str], trust_file: Path | None, *, start_tls: bool) -> str:
    """Have the master's directory server send here no more; its URL. Raises: NotFound, ConfigError, StoreError.

    `manager` is who may configure that server: DN and password.
    """
    supplier, followed = journal_of(layout).kept().get(SUPPLIER, ""), read_settings(layout).certsystem
    if not supplier or not followed.url:
        raise NotFound("this instance is no clone of a Certificate System", hint="vouchd clone destroy")
    theirs, ours = server_of(supplier, start_tls=start_tls), server_of(followed.url, start_tls=followed.start_tls)
    with _opened(theirs, Credentials(*manager), trust_file) as connection:
        one_way.stop_sending(connection, theirs, ours)
    write_values(layout, {"vouchd.certsystem.url": ""})
    return supplier


def check_master(theirs: TheirSettings, master: DirectoryServer, ours: DirectoryServer) -> None:
    """Return when the settings and the two servers go together, as far as names tell. Raises: ConfigError."""
    base = theirs.get("internaldb.basedn")
    if _folded(base) != _folded(master.suffix):
        raise ConfigError(
            f"{theirs.name}: the master's data is below {base or 'nothing'}, not below {master.suffix}",
            hint="the suffix in --master is internaldb.basedn of that CS.cfg",
        )
    if _folded(ours.suffix) != _folded(master.suffix):
        raise ConfigError(
            f"the clone's suffix {ours.suffix} is not the master's, {master.suffix}",
            hint="another directory server, with the same suffix: --directory ldap://HOST:PORT/SUFFIX",
        )
    if (ours.host, ours.port) == (master.host, master.port):
        raise ConfigError(
            f"{url_of(ours)} is the master's own directory server",
            hint="a clone needs one of its own: vouchd directory create makes it",
        )
    if theirs.get("ocsp.store.defStore.refreshInSec") in _CLONES_REFRESH or theirs.get("subsystem.select") == "Clone":
        raise ConfigError(
            f"{theirs.name} is a clone's: it answers from a CRL that is hours old, and no CA publishes there",
            hint="take the CS.cfg, keys and directory server of its master",
        )


def check_data(master: Connection, server: DirectoryServer) -> None:
    """Return when an OCSP manager keeps its data there. Raises: ConfigError."""
    if not one_way.is_certificate_systems(master, server.suffix):
        raise ConfigError(
            f"{url_of(server)}: no Certificate System keeps its data below {server.suffix}",
            hint="the server and suffix in its CS.cfg: internaldb.ldapconn.host, .port, internaldb.basedn",
        )


def responder_of(theirs: TheirSettings) -> str:
    """The OCSP service of the master, empty where its settings do not tell."""
    port = theirs.get("service.unsecurePort") or theirs.get("pkicreate.unsecure_port")
    return f"http://{theirs.host}:{port}/ocsp/ee/ocsp" if theirs.host and port else ""


def _folded(dn: str) -> str:
    return ",".join(part.strip().lower() for part in dn.split(","))
