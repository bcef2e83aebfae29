"""The steps that make a clone, each named, each repeatable: `vouchd clone create` does them in order.

Whatever its master is, making one consists of a folder, the journal of its steps, waiting, and the start (`Creation`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.clock import SystemClock
from vouchd.cloning.client import PeerClient, connector
from vouchd.cloning.directory_setup import directory_values, replica_id_of, set_up_directory
from vouchd.cloning.following import followed
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, own_member
from vouchd.cloning.needs import CheckInstance, Compare, OpenServices, Say
from vouchd.cloning.preflight import check_keys, check_set, read_keys
from vouchd.cloning.replication import reconcile
from vouchd.cloning.set_info import Joined, SetInfo
from vouchd.cloning.steps import Step, journal_of
from vouchd.cloning.token_keys import TokenKeys
from vouchd.core.facts import Member
from vouchd.core.ports import Store
from vouchd.directory.connection import Credentials, open_as_manager
from vouchd.errors import ConfigError, LifecycleError, NotFound, PermissionDenied
from vouchd.files import read_file, replace_file
from vouchd.instance import lifecycle
from vouchd.instance.certificates.issuing import certify, server_request
from vouchd.instance.certificates.places import FIXED, SSLSERVER, pending_requests, system_certificates
from vouchd.instance.configuration import write_values
from vouchd.instance.creation import DEFAULT_NICKNAME, NewSigner, OnToken, create_instance, require_free
from vouchd.instance.report import ServedPoint
from vouchd.instance.unconfigured import is_configured
from vouchd.pkix.purposes import Purpose
from vouchd.pkix.signatures import algorithms_for
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, REPLICATIONDB, read_passwords, replace_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import PrivateKey
from vouchd.signing.pkcs12 import KeyFile
from vouchd.signing.token.keys import TokenKey
from vouchd.signing.token.pins import read_pin
from vouchd.signing.token.reference import TokenPlace
from vouchd.stores.beliefs import Believed
from vouchd.stores.rules import Unsealed

INITIALISE_SECONDS = 1800.0
ARRIVE_SECONDS = 60.0
_POLL_SECONDS = 0.1


class Creation:
    """Makes a clone in the folder of `layout`; `say` is told of progress, `check` proves the instance made there."""

    def __init__(self, layout: Layout, check: CheckInstance, say: Say) -> None:
        self._layout = layout
        self._check = check
        self._say = say
        self.journal = journal_of(layout)

    def _start(self) -> None:
        if not lifecycle.status(self._layout).ready:
            lifecycle.start(self._layout, lifecycle.manager_command(self._layout))


def wait_for(lack: Callable[[], str], hint: str) -> None:
    """Return when nothing is lacking any more; `lack` says in words what is. Raises: LifecycleError with these."""
    until = time.monotonic() + ARRIVE_SECONDS
    while words := lack():
        if time.monotonic() > until:
            raise LifecycleError(words, hint=hint)
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class ClonePlan:
    """What the administrator asks for."""

    layout: Layout
    master: tuple[str, int]  # host and agent port of the member to join by
    fingerprint: str
    token: str
    pkcs12: Path | None
    pkcs12_password: str
    host: str  # fully qualified name of this host
    agent_port: int
    ee_port: int
    values: dict[str, str]  # CS.cfg lines of this host
    ca: Path | None  # our own CA certifies the TLS server
    directory: DirectorySettings | None
    manager: tuple[str, str] | None  # who may configure the directory server, and the password
    start: bool = True
    place: TokenPlace | None = None  # the token that has the signing keys of the set
    set_up: bool = False  # the folder is there, of an instance that is being set up


def take_over_certificates(layout: Layout, info: SetInfo) -> None:
    """Have the shared certificates and what is sent along with each be the master's, byte for byte.

    A chain that is derived anew from the PKCS #12 may be another one: longer, or by other certificates of the same CA.
    Raises: SigningError, ConfigError.
    """
    settings = read_settings(layout)
    beside = {one.nickname: one.chain_file for one in settings.signers}
    for place in system_certificates(settings):
        if place.name in info.chains and place.name in info.certificates:
            leaf, chain = _pem([info.certificates[place.name]]), _pem(info.chains[place.name])
            file = beside.get(place.name)
            if file is not None:
                replace_file(file, chain, 0o644)
            replace_file(place.files.certificate_file, leaf if file else leaf + chain, 0o644)


def _pem(certificates: Sequence[bytes]) -> bytes:
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates)


class CloneCreation(Creation):
    """Makes a clone by `plan`; `say` is told of progress."""

    def __init__(
        self, plan: ClonePlan, services: OpenServices, check: CheckInstance, compare: Compare, say: Say
    ) -> None:
        super().__init__(plan.layout, check, say)
        self._plan = plan
        self._services = services
        self._compare = compare

    def steps(self) -> tuple[Step, ...]:
        """All steps in order. Raises: AlreadyExists when another instance is there."""
        if self._plan.set_up and not self._is_made:
            self.journal.path.unlink(missing_ok=True)  # what was answered may be another thing now
        if not self.journal.path.exists():
            require_free(self._layout.root, set_up=self._plan.set_up)  # one that was made otherwise is none of ours
        directory = self._plan.directory is not None
        own = (
            Step("directory", "prepare the directory server", self._directory),
            Step("replicate", "fill it from the master's", self._replicate),
        )
        followed = (Step("facts", "take over the master's facts", self._facts),)
        begun = () if self._is_made else (Step("preflight", "look before anything is changed", self._preflight),)
        return (
            *begun,
            Step("keys", "make the instance with the keys of the set", self._keys),
            Step("certificate", "a TLS certificate of its own", self._certificate),
            Step("join", "join the security domain", self._join),
            *(own if directory else followed),
            Step("settings", f"mark it a clone: refreshInSec={CLONE_REFRESH_SECONDS}", self._settings),
            *((Step("start", "start it", self._start),) if self._plan.start else ()),
            *((Step("verify", "compare it with the master", self._verify),) if self._plan.start else ()),
        )

    @property
    def _is_made(self) -> bool:
        return is_configured(self._layout)

    @cached_property
    def _info(self) -> SetInfo:
        """The set as the master tells it: with the token, or once the keys are here with those."""
        host, port = self._plan.master
        try:
            return PeerClient(host, port, self._plan.fingerprint).check(self._plan.token)
        except NotFound:
            if not self._is_made:
                raise
            return self._client().info()

    def _preflight(self) -> None:
        if self._plan.pkcs12 is not None:
            read_keys(self._plan.pkcs12, self._plan.pkcs12_password, self._layout.root.parent)
        check_set(self._info, self._planned_member(), SystemClock().now())
        check_keys(self._key_file, self._info.certificates)
        if self._plan.directory is not None and self._plan.manager is not None:
            credentials = Credentials(*self._plan.manager)
            open_as_manager(self._plan.directory.server, credentials, self._plan.directory.trust_file).close()

    @cached_property
    def _key_file(self) -> KeyFile:
        """The keys of the set: from the token, and what is not there from the PKCS #12 file or the master."""
        plan, carried = self._plan, None
        if plan.pkcs12 is not None:
            carried = read_keys(plan.pkcs12, plan.pkcs12_password, self._layout.root.parent)
        if plan.place is None:
            if carried is None:
                raise ConfigError("where the keys come from is not said", hint="--pkcs12 FILE, or --token LABEL")
            return carried
        keys = TokenKeys(self._info, plan.place)
        here = keys.on_token()
        if carried is not None:
            bags = tuple(bag for bag in keys.opened(here, {}, whole=False).bags)
            return KeyFile(carried.path, (*bags, *carried.bags), carried.certificates)
        nickname = self._nickname
        if nickname not in here:
            keys.opened(here, {})
        host, port = plan.master
        client = PeerClient(host, port, plan.fingerprint)
        sealed = client.keys(
            plan.token, keys.public, lambda binding: keys.sign(here[nickname], nickname, plan.token, binding)
        )
        return keys.opened(here, sealed)

    @property
    def _nickname(self) -> str:
        return self._info.values.get("ocsp.signing.certnickname", DEFAULT_NICKNAME)

    def _planned_member(self) -> Member:
        plan = self._plan
        directory = plan.directory.server if plan.directory else None
        return Member(plan.host, plan.agent_port, plan.ee_port, "", clone=True, joined_at=0, directory=directory)

    def _keys(self) -> None:
        if self._is_made:
            return
        info, nickname = self._info, self._nickname
        keys = self._key_file
        named = check_keys(keys, info.certificates)
        bag = keys.bag_for(named.pop(nickname), x509.load_der_x509_certificate(info.certificates[nickname]))
        algorithm = info.values.get("ocsp.signing.defaultSigningAlgorithm") or algorithms_for(bag.key.public_key())[0]
        others = {
            f"vouchd.signer.{name}.{kind}": f"alias/{name}.{suffix}"
            for name in named
            if name not in FIXED
            for kind, suffix in (("key", "key"), ("certificate", "pem"))
        }
        above = [x509.load_der_x509_certificate(der) for der in info.chains.get(nickname, ())]
        sent = tuple(above) if nickname in info.chains else bag.others
        signer = NewSigner(bag.key, algorithm, bag.certificate, sent, nickname, **self._on_token(bag.key))

        def finish(draft: Layout) -> None:
            with self._services(draft) as services:
                services.keys.restore(keys, named, services.caller)
            take_over_certificates(draft, info)
            journal_of(draft).keep({"from": str(keys.path)})  # so that the next run knows it for its own

        values = {**info.values, **others, **self._plan.values}
        create_instance(self._layout.root, signer, values, finish, set_up=self._plan.set_up)

    def _on_token(self, key: PrivateKey) -> OnToken:
        """What the settings of this host say of the token."""
        place = self._plan.place
        if place is None or not isinstance(key, TokenKey):
            return {"token": INTERNAL, "passwords": {}}
        return {"token": place.name, "passwords": {} if place.pin_command else {place.name: read_pin(place)}}

    def _certificate(self) -> None:
        with self._services(self._layout) as services:
            if services.settings.agent.tls.installed:
                return
            waiting = pending_requests(self._layout.alias, SSLSERVER)
            path = waiting[-1] if waiting else server_request(services.certificates, services.caller, [self._plan.host])
            if self._plan.ca is None:
                raise LifecycleError(
                    f"the TLS server certificate has to come from a CA: the request is {path}",
                    hint=f"vouchd certs install {SSLSERVER} FILE, then run this command again",
                )
            certificate = certify(self._plan.ca, Purpose.TLS_SERVER, read_file(path))
            services.certificates.install(SSLSERVER, certificate, services.caller)

    def _client(self) -> PeerClient:
        return connector(self._layout, read_settings(self._layout))(self._joined_by)

    @property
    def _joined_by(self) -> Member:
        """The member that this one joins by, as far as it is known before the registry is here."""
        host, port = self._plan.master
        return Member(host, port, 0, "", clone=False, joined_at=0, tls_sha256=self._plan.fingerprint)

    def _own_member(self) -> Member:
        directory = self._plan.directory.server if self._plan.directory else None
        return replace(own_member(read_settings(self._layout)), clone=True, directory=directory)

    def _join(self) -> None:
        member = self._own_member()
        client = self._client()
        host, port = self._plan.master
        # `clone destroy` needs it while the registry has not arrived here.
        self.journal.keep({"master": f"https://{host}:{port}", "fingerprint": self._plan.fingerprint})
        joined: Joined
        try:
            joined = client.join(member, self._plan.token)
        except NotFound as error:  # the token was used by a run that was cut short: then the registry has us
            try:
                joined = client.rejoin(member)
            except PermissionDenied:  # it does not: the token is none
                raise error from None
        passwords = read_passwords(self._layout.password_conf)
        if joined.replication_password:
            replace_passwords(self._layout.password_conf, passwords | {REPLICATIONDB: joined.replication_password})
        if joined.beliefs is not None:
            Believed(self._layout.believed).take_over(joined.beliefs)
        elif self._plan.directory is not None:
            self._say(f"{host} tells nothing of what it believes: what the directory has is believed at first sight")
        replica = joined.member.directory.replica_id if joined.member.directory else None
        write_values(
            self._layout, {"securitydomain.name": joined.info.domain, "vouchd.directory.replicaId": str(replica or 0)}
        )

    def _directory(self) -> None:
        plan = self._plan
        if plan.directory is None or plan.manager is None:
            raise ConfigError("the directory server has no manager", hint="--directory-password-file")
        server = replace(plan.directory.server, replica_id=replica_id_of(self._layout))
        directory = replace(plan.directory, server=server)
        set_up_directory(self._layout, directory, plan.manager, self._say, clone=True)
        write_values(self._layout, directory_values(directory))

    def _replicate(self) -> None:
        member = self._own_member()
        self._client().replicate(member.id, self._say, INITIALISE_SECONDS)
        write_values(self._layout, {"vouchd.store": "directory"})
        with self._services(self._layout) as services:

            def lack() -> str:
                arrived = member.id in {known.id for known in _stored(services.store)}
                return "" if arrived else "the registry has not arrived with the master's data"

            wait_for(lack, "see `vouchd directory status` on the master, then run this command again")
            reconcile(self._layout, services.settings, services.store.members())

    def _facts(self) -> None:
        with self._services(self._layout) as services:
            following = followed(
                self._layout, services.in_use, services.store, services.indexing, lambda: self._joined_by
            )
            if following is None:
                raise ConfigError("this instance keeps its facts in a directory")
            following.catch_up()

    def _settings(self) -> None:
        values = {"ocsp.store.defStore.refreshInSec": str(CLONE_REFRESH_SECONDS)}
        if self._plan.directory is None:
            host, port = self._plan.master
            values["vouchd.clone.master"] = f"{host}:{port}"
        write_values(self._layout, values)
        self._check(self._layout, self._say)

    def _verify(self) -> None:
        """Wait until this instance answers from what the master answers from, and then with the same bytes.

        Raises: LifecycleError.
        """
        client = self._client()

        def lack() -> str:
            theirs = {_served(ServedPoint.of(epoch, "", 0, 0)) for epoch in client.epochs().epochs}
            report = lifecycle.status(self._layout).report
            ours = {_served(point) for point in report.issuing_points} if report else set()
            if theirs == ours:
                return ""
            return f"the clone answers from {len(ours & theirs)} of the master's {len(theirs)} issuing points"

        wait_for(lack, "see `vouchd status` and the log; `vouchd clone verify` tells more")
        # Of the same CRLs the same bytes: else it would be no clone, whatever else is right.
        differences = [one for member in self._compare(self._layout).members for one in member.examples]
        if differences:
            raise LifecycleError(
                f"the clone does not answer as the master does: {differences[0]}",
                hint="`vouchd clone verify` there tells all; mend it and run this command again",
            )


def _stored(store: Store) -> tuple[Member, ...]:
    """The members that stand in the directory, whatever is believed of them."""
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    return store.over(Unsealed()).members() if isinstance(store, DirectoryStore) else store.members()


def _served(point: ServedPoint) -> tuple[object, ...]:
    return point.authority_id, point.scope_id, point.crl_number, point.this_update, point.accepted_at
