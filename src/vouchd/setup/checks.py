"""The checks of the panels: what the operations would refuse later is refused at once, with the same words."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509

from vouchd.ca.authority import CertificateManager
from vouchd.ca.requests import parse_subject
from vouchd.client.transport import https_parts
from vouchd.clock import SystemClock
from vouchd.cloning.client import PeerClient, connector
from vouchd.cloning.directory_move import NewDirectory
from vouchd.cloning.preflight import check_keys, check_newcomer, read_keys
from vouchd.cloning.registry import require_place, require_reachable
from vouchd.cloning.set_info import SetInfo
from vouchd.core.facts import Member
from vouchd.core.ports import Clock
from vouchd.directory.connection import Credentials, open_as_manager
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError, NotFound
from vouchd.files import read_file
from vouchd.instance.certificates.issuing import general_name
from vouchd.instance.certificates.places import FIXED
from vouchd.instance.unconfigured import is_configured
from vouchd.pkix.certs import check_signer, is_issued_by
from vouchd.pkix.pem import MAX_BUNDLE_BYTES
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.service import authorities
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.setup.plans import (
    WILDCARD,
    certsystem_domain,
    certsystem_requests,
    chosen_master,
    directory_of,
    host_path,
    maybe_path,
    member_address,
    member_of,
    signer_source,
    token_of,
)
from vouchd.setup.questionnaire import Answers, Requests, SecurityDomain
from vouchd.setup.state import EXPORTED, own_journal
from vouchd.signing.certificates import read_certificates
from vouchd.signing.pkcs12 import read_key_file
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.session import Launcher
from vouchd.sockets import probe

LEAST_PASSWORD = 8


def ask_member(layout: Layout, answers: Answers) -> SetInfo:
    """The set as the member tells it that was named, for who has its token, or has the keys of the set by now.

    Raises: ConfigError, VouchdError.
    """
    host, port = member_address(answers)
    domain = answers.security_domain
    try:
        return PeerClient(host, port, domain.fingerprint).check(domain.token)
    except NotFound:
        if not is_configured(layout):
            raise
    member = Member(host, port, 0, "", clone=False, joined_at=0, tls_sha256=domain.fingerprint)
    return connector(layout, read_settings(layout))(member).info()


@dataclass(slots=True)
class Checks:
    """The checks for the instance in a folder; what a member tells of its set (`ask`) is asked for once."""

    layout: Layout
    ask: Callable[[Layout, Answers], SetInfo] = ask_member
    clock: Clock = field(default_factory=SystemClock)
    _sets: dict[SecurityDomain, tuple[SetInfo, int]] = field(default_factory=dict)

    def info(self, answers: Answers) -> SetInfo:
        """The set that is joined. Raises: ConfigError; VouchdError of the member that was asked."""
        return self._set(answers)[0]

    def _set(self, answers: Answers) -> tuple[SetInfo, int]:
        """The same, and when it came by our clock, which the member's is compared with."""
        domain = answers.security_domain
        if domain.kind != "join":
            raise ConfigError("no domain is joined", hint="choose so at Security Domain")
        if domain not in self._sets:
            self._sets[domain] = self.ask(self.layout, answers), self.clock.now()
        return self._sets[domain]

    def key_store(self, answers: Answers) -> None:
        """A token can be logged in to."""
        source = token_of(self.layout, answers)
        if source is not None:
            Launcher(source.place).open(OPEN_SECONDS).close()

    def security_domain(self, answers: Answers) -> None:
        """A domain to join answers, is the one that is meant, and lets the token in."""
        domain = answers.security_domain
        if domain.kind == "new":
            if not domain.name.strip():
                raise ConfigError("the domain has no name", hint="give it one, for people")
            return
        if domain.kind == "join" and not answers.is_clone and is_configured(self.layout):
            raise ConfigError(
                "the instance was made as a new subsystem by now, which has keys of its own",
                hint="make a new domain, or join a Certificate System's",
            )
        member_address(answers)
        if answers.enters_certsystem:
            self._certsystem_domain(answers)
            return
        if not domain.fingerprint:
            raise ConfigError(
                "which certificate the member has is not said", hint="its fingerprint: vouchd clone prepare there"
            )
        if not domain.token:
            raise ConfigError("the join token is missing", hint="vouchd clone prepare or vouchd domain token there")
        self._sets.clear()  # what was told before may be over
        self.info(answers)

    @staticmethod
    def _certsystem_domain(answers: Answers) -> None:
        """The CA is the one that is meant, hosts a domain, and knows the administrator."""
        domain = answers.security_domain
        if not domain.fingerprint:
            raise ConfigError(
                "which certificate the CA has is not said", hint="its fingerprint, SHA-256, as the CA's own host has it"
            )
        if not domain.user or not domain.password:
            raise ConfigError(
                "an administrator of that domain is missing",
                hint="a user of that CA, such as caadmin, and its password",
            )
        known = certsystem_domain(answers)
        known.hosts()
        known.log_in()
        if domain.publish:
            replace(known, fingerprint="").hosts()  # as its CRLs are fetched

    def subsystem(self, answers: Answers) -> None:
        """Host and ports can be used, and a clone may be made of the member."""
        here, joins = answers.subsystem, answers.security_domain.kind == "join"
        if joins != answers.is_clone:
            if joins:
                raise ConfigError(
                    "a new subsystem has a domain of its own: the members of a domain have the same keys",
                    hint="choose clone, or go back to Security Domain and make a new one",
                )
            hint = "go back to Security Domain and join it"
            if answers.enters_certsystem:
                hint += "; vouchd clone create --master ldap://… makes a clone of a Certificate System's OCSP manager"
            raise ConfigError("a clone joins its master's domain", hint=hint)
        member = member_of(here)
        require_reachable(member)
        if answers.enters_certsystem:
            certsystem_domain(answers).admit(here.host)
        if answers.is_clone:
            info, since = self._set(answers)
            self.master(answers)
            check_newcomer(info, member, since)
        self._ports(answers)

    def master(self, answers: Answers) -> Member:
        """The member to clone, as the domain knows it. Raises: ConfigError."""
        members, name = self.info(answers).members, chosen_master(answers)
        master = next((one for one in members if one.id == name), None)
        if master is None:
            raise ConfigError(
                f"{name[:100]!r} is no member of the domain" if name else "the member to clone is not chosen",
                hint=f"one of {', '.join(one.id for one in members)}",
            )
        return master

    @staticmethod
    def _ports(answers: Answers) -> None:
        here = answers.subsystem
        ports = [port for port in (here.port, here.agent_port, here.health_port) if port]
        if len(set(ports)) < len(ports):
            raise ConfigError("two ports are the same", hint="OCSP, agents and health have one each")
        addresses = [(here.listen or WILDCARD, here.port), (here.listen or WILDCARD, here.agent_port)]
        for address in (*addresses, ("127.0.0.1", here.health_port)):
            try:
                probe(address)
            except LifecycleError as error:
                hint = error.hint if "CS.cfg" not in error.hint else "choose another, or stop what listens there"
                raise ConfigError(str(error), hint=hint) from error

    def restore_keys(self, answers: Answers) -> None:
        """The file is private, opens with the password, and has the keys of the domain; or a signing key."""
        if not answers.is_clone:
            if answers.restores_signer and not self._is_chosen_by_name(answers):
                self._signer(answers, [])
            return
        restore = answers.restore_keys
        path = host_path(restore.path, "PKCS #12 file")
        keys = read_keys(path, restore.password, self.layout.root.parent)
        check_keys(keys, self.info(answers).certificates)

    def _is_chosen_by_name(self, answers: Answers) -> bool:
        """Whether the PKCS #12 file has several keys, of which the nickname, which is asked for later, tells one."""
        source = signer_source(self.layout, answers)
        return source.pkcs12 is not None and len(read_key_file(source.pkcs12, answers.restore_keys.password).bags) > 1

    def _signer(self, answers: Answers, known: Sequence[x509.Certificate]) -> None:
        """The signer that is restored may answer for the CAs: the `known` ones, or its issuer that came along."""
        authorities = list(known)
        signer = signer_source(self.layout, answers).signer(authorities)
        leaf = signer.certificate
        if leaf is None:  # pragma: no cover  who restores a signer has its certificate
            raise AssertionError("a signer without a certificate")
        if not any(is_issued_by(leaf, one) for one in authorities):
            authorities += [one for one in signer.chain if is_issued_by(leaf, one)]
        for authority in authorities:
            check_signer(leaf, authority, self.clock.now())

    def internal_database(self, answers: Answers) -> None:
        """The directory server can be configured, is nobody's, and fits those of the domain."""
        database = answers.internal_database
        if database.kind == "embedded":
            if answers.is_clone:
                require_place(member_of(answers.subsystem), self.info(answers).members)
            return
        directory = directory_of(database, replica_id=1)
        member = member_of(answers.subsystem, directory.server)
        require_reachable(member)
        if answers.is_clone:
            require_place(member, self.info(answers).members)
        if not database.password:
            raise ConfigError(f"the password of {database.manager} is missing", hint="type it; it is used once")
        if answers.is_clone:
            credentials = Credentials(database.manager, database.password)
            open_as_manager(directory.server, credentials, directory.trust_file).close()
            return
        name = answers.security_domain.name
        NewDirectory(directory, database.manager, database.password, name).require_unused()

    def key_pairs(self, answers: Answers) -> None:
        """There is such an algorithm, and the key store can make its key."""
        pairs = answers.key_pairs
        if pairs.algorithm not in ALGORITHMS:
            raise ConfigError(f"unknown signature algorithm {pairs.algorithm[:60]}", hint=", ".join(ALGORITHMS))
        if answers.on_token and pairs.algorithm.startswith("ML-DSA"):
            raise ConfigError("no token makes ML-DSA keys", hint="RSA, EC or Ed25519; or keys in files")
        if pairs.extractable and not answers.on_token:
            raise ConfigError("only a key on a token is wrapped by it", hint="leave it off: keys in files are exported")

    def subject_names(self, answers: Answers) -> None:
        """Subject, nickname and host names are such."""
        names = answers.subject_names
        parse_subject(names.subject)
        if not names.nickname or names.nickname in FIXED:
            raise ConfigError(f"{names.nickname!r} is no nickname of a signer", hint="such as ocspSigningCert")
        for name in names.server_names.split():
            general_name(name)
        if answers.restores_signer:
            self._signer(answers, [])

    def requests(self, answers: Answers) -> None:
        """The CA is there, or will be."""
        requests = answers.requests
        if requests.kind == "ca":
            with CertificateManager(host_path(requests.ca, "folder of our CA")):
                pass
        if requests.kind in {"est", "certsystem"}:
            trust = maybe_path(requests.trust, "CAs of that server")
            if trust is not None:
                read_certificates(trust)
        if requests.kind == "est":
            if https_parts(requests.url) is None:
                raise ConfigError(f"{requests.url[:200]!r} is not an https URL", hint="it ends with /.well-known/est")
            if not requests.user or not requests.password:
                raise ConfigError("the EST server has to know who asks", hint="a user and its password")
        if requests.kind == "certsystem":
            self._certsystem_requests(requests)
        known = named_authorities(answers)
        if answers.restores_signer:
            self._signer(answers, known)

    @staticmethod
    def _certsystem_requests(requests: Requests) -> None:
        """The CA is there, and who is to approve is known to it."""
        if requests.approve and not requests.agent and not (requests.user and requests.password):
            raise ConfigError(
                "who approves the requests is missing",
                hint="an agent of that CA: a user and its password, or its certificate in a PKCS #12 file",
            )
        if requests.user and requests.agent:
            raise ConfigError("the agent is known by a password or by a certificate", hint="leave one of them out")
        at_ca = certsystem_requests(requests)
        if requests.approve:
            at_ca.log_in()
        else:
            at_ca.require_ca()

    def export_keys(self, answers: Answers) -> None:
        """The file can be made, and its password is one."""
        export = answers.export_keys
        if export.kind == "none":
            return
        path = host_path(export.path, "where the file goes")
        if path.exists() and own_journal(self.layout).kept().get(EXPORTED) != str(path):
            raise AlreadyExists(f"{path}: exists already", hint="name a new file")
        if path.is_relative_to(self.layout.root.absolute()):
            raise ConfigError(f"{path}: a backup in the instance's own folder is lost with it", hint="another folder")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise ConfigError(
                f"{path.parent}: nothing can be written there", hint="a folder that this user may write to"
            )
        _require_password(export.password, "the PKCS #12 file")

    def administrator(self, answers: Answers) -> None:
        """A password that was typed is one."""
        if answers.administrator.password:
            _require_password(answers.administrator.password, "the browser's file")


def named_authorities(answers: Answers) -> tuple[x509.Certificate, ...]:
    """The CAs to answer for that a file has. Raises: ConfigError."""
    path = maybe_path(answers.requests.authorities, "CAs to answer for")
    return authorities_in(path) if path is not None else ()


def authorities_in(path: Path) -> tuple[x509.Certificate, ...]:
    """The CAs in a file. Raises: ConfigError."""
    try:
        return authorities.read_authorities(read_file(path, MAX_BUNDLE_BYTES, error=ConfigError)).certificates
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file", hint="is the name right?") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from error


def _require_password(password: str, of: str) -> None:
    if len(password) < LEAST_PASSWORD:
        raise ConfigError(f"the password of {of} has fewer than {LEAST_PASSWORD} characters", hint="a longer one")
