"""An instance made from a Certificate System's OCSP manager: its settings, keys, CAs with their CRLs, and users.

The Certificate System is only read, and goes on. The instance is built as a whole beside its place: what cannot be
taken over is told by name and costs itself alone. A rehearsal builds it elsewhere and throws it away, so it tells what
would come of it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509

from vouchd.api.crls import take_crl
from vouchd.api.services import Services
from vouchd.audit.former import KeptFile
from vouchd.cloning.adoption import Adopted, OtherDirectory, adopt_point, unmet
from vouchd.directory.connection import Connection, Credentials, open_as_manager
from vouchd.directory.foreign import foreign_points
from vouchd.errors import ConfigError, SigningError, StoreUnavailable, VouchdError
from vouchd.files import read_file, read_head
from vouchd.instance.certificates.issuing import certify, server_request
from vouchd.instance.certificates.places import AUDIT_SIGNING, SSLSERVER, SUBSYSTEM
from vouchd.instance.creation import NewSigner, create_instance, require_free
from vouchd.migration.findings import Finding
from vouchd.migration.their_settings import NICKNAMES, JudgedSettings, TheirSettings, judged, read_their_settings
from vouchd.migration.their_users import RightDifference, differences, read_acls, read_users, take_over
from vouchd.pkix.purposes import Purpose
from vouchd.pkix.signatures import algorithms_for
from vouchd.service.permission import Action
from vouchd.settings.layout import Layout
from vouchd.signing.pkcs12 import KeyBag, KeyFile, read_key_file

OpenInstance = Callable[[Layout], AbstractContextManager[Services]]
_SYSTEM = {SUBSYSTEM: "subsystem", AUDIT_SIGNING: "audit_signing", SSLSERVER: "sslserver"}  # tag by our name


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What is taken over, from where, and what the operator adds."""

    root: Path  # where the instance is made
    config: Path
    pkcs12: Path
    pkcs12_password: str = field(repr=False)
    directory: OtherDirectory
    trusted: tuple[str, ...] = ()  # subjects of CAs that need not have issued the signer
    audit_log: tuple[Path, ...] = ()  # files and folders of its signed audit log
    values: Mapping[str, str] = field(default_factory=dict)  # lines of CS.cfg that the operator wants otherwise
    hosts: tuple[str, ...] = ()  # names of the TLS server; empty: the one that it has there
    ca: Path | None = None  # our own CA certifies the TLS server, when its key is not in the file


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it; `publisher` are the lines for the CS.cfg of each CA that is to publish here."""

    instance: Path
    findings: tuple[Finding, ...]
    rights: tuple[RightDifference, ...]
    publisher: tuple[str, ...]


class CertificateSystemImport:
    """Makes an instance by `plan`; `services` opens one."""

    def __init__(self, plan: ImportPlan, services: OpenInstance) -> None:
        self._plan = plan
        self._services = services
        self._findings: list[Finding] = []

    def run(self) -> Imported:
        """Make it. Raises: AlreadyExists, ConfigError, SigningError, StoreUnavailable: and nothing is left behind."""
        require_free(self._plan.root)
        return self._made(self._plan.root)

    def rehearse(self) -> Imported:
        """Tell what `run` would do; nothing stays. Raises: as `run`."""
        require_free(self._plan.root)
        with TemporaryDirectory(prefix="vouchd-import-") as folder:
            return self._made(Path(folder) / "instance")

    def _made(self, root: Path) -> Imported:
        plan = self._plan
        theirs = read_their_settings(plan.config)
        settings = judged(theirs)
        self._findings = list(settings.findings)
        keys = self._keys()
        names = self._named(theirs, keys)
        nickname = theirs.nickname("signing")
        bag = _signer(theirs, keys, nickname)
        settings.values.pop("ocsp.signing.certnickname", None)  # as `create_instance` writes it
        signer = NewSigner(
            bag.key, _algorithm(settings, bag), bag.certificate, bag.others, nickname, subject=bag.certificate.subject
        )
        settings.values.pop("ocsp.signing.defaultSigningAlgorithm", None)
        self._findings.append(Finding.taken(f"key {nickname}", "it signs the answers"))
        rights: list[RightDifference] = []
        with _reading(plan.directory) as connection:

            def finish(draft: Layout) -> None:
                with self._services(draft) as services:
                    self._system_keys(services, keys, names, theirs)
                    self._authorities(services, connection)
                    self._users(services, connection)
                    self._audit_log(services)
                    rights.extend(differences(read_acls(connection, plan.directory.server.suffix)))

            create_instance(root, signer, {**settings.values, **plan.values}, finish)
        port = {**settings.values, **plan.values}.get("vouchd.agent.port", "8443")
        host = (plan.hosts or (theirs.host,))[0]
        return Imported(plan.root, tuple(self._findings), tuple(rights), publisher_lines(host, port))

    def _keys(self) -> KeyFile:
        require_no_nss_database(self._plan.pkcs12)
        return read_key_file(self._plan.pkcs12, self._plan.pkcs12_password)

    def _named(self, theirs: TheirSettings, keys: KeyFile) -> dict[str, str]:
        """Nickname in the file of each system key besides the signer's that is there, by its name here."""
        nicknames = {bag.friendly_name for bag in keys.bags}
        names = {}
        for name, tag in _SYSTEM.items():
            nickname = theirs.nickname(tag)
            if nickname in nicknames:
                names[name] = nickname
            elif theirs.token(tag):
                continue  # told of with its token
            elif name != SSLSERVER:
                self._findings.append(
                    Finding.impossible(
                        f"key {nickname or tag}",
                        f"{self._plan.pkcs12} does not hold it",
                        f"vouchd certs request {name} makes a new one",
                    )
                )
        used = {*names.values(), theirs.nickname("signing")}
        self._findings += [
            Finding.without_effect(f"key {name}", "no setting names it") for name in sorted(nicknames - used)
        ]
        return names

    def _system_keys(self, services: Services, keys: KeyFile, names: Mapping[str, str], theirs: TheirSettings) -> None:
        """Put in the keys of the file; what it lacks gets a request."""
        for name, nickname in names.items():
            what = f"key {nickname}"
            try:
                services.keys.restore(keys, {name: nickname}, services.caller)
                self._findings.append(Finding.taken(what, f"it is {NICKNAMES[_SYSTEM[name]]}"))
            except (SigningError, ConfigError) as error:
                self._findings.append(Finding.refused(what, error))
        if SSLSERVER not in names:
            hosts = self._plan.hosts or ((theirs.host,) if theirs.host else ("localhost",))
            path = server_request(services.certificates, services.caller, hosts)
            words = f"it is not in {self._plan.pkcs12.name}: a new one was made for {', '.join(hosts)}"
            if self._plan.ca is None:
                self._findings.append(
                    Finding.impossible(
                        f"key {theirs.nickname('sslserver') or SSLSERVER}",
                        words,
                        f"have the CA certify alias/{path.name}, then: vouchd certs install {SSLSERVER} FILE",
                    )
                )
            else:
                certificate = certify(self._plan.ca, Purpose.TLS_SERVER, read_file(path))
                services.certificates.install(SSLSERVER, certificate, services.caller)
                self._findings.append(Finding.taken("key of the TLS server", f"{words}, and certified by our own CA"))

    def _authorities(self, services: Services, connection: Connection) -> None:
        plan = self._plan
        taken: list[Adopted] = []
        count = 0
        for point in foreign_points(connection, plan.directory.server.suffix):
            count += 1
            what = f"CA of {point.dn}"
            try:
                adopted = adopt_point(
                    services.authorities,
                    point,
                    lambda crl, origin: take_crl(services, crl, origin, services.caller),
                    [],
                    services.caller,
                    plan.trusted,
                )
            except StoreUnavailable:
                raise
            except VouchdError as error:
                self._findings.append(Finding.refused(what, error))
                continue
            taken.append(adopted)
            self._findings += _of_authority(adopted)
        if not count:
            self._findings.append(
                Finding.impossible(
                    f"CAs below {plan.directory.server.suffix}", "there are none", "vouchd authority add CA.pem"
                )
            )
        self._findings += [
            Finding.refused(f"trusted responder of {name}", error) for name, error in unmet(plan.trusted, taken)
        ]

    def _users(self, services: Services, connection: Connection) -> None:
        for user in read_users(connection, self._plan.directory.server.suffix):
            self._findings += take_over(services.users, user, services.caller)

    def _audit_log(self, services: Services) -> None:
        for source in self._plan.audit_log:
            try:
                kept = take_audit_log(services, [source])
            except VouchdError as error:
                self._findings.append(Finding.refused(f"audit log {source}", error))
                continue
            self._findings += [
                Finding.taken(f"audit log {one.source}", f"{one.records} records, kept as they came in {one.name}")
                for one in kept
            ]


def take_audit_log(services: Services, sources: Sequence[Path]) -> tuple[KeptFile, ...]:
    """Keep its audit log beside ours. Raises: PermissionDenied; as `FormerLog.take`."""
    services.permission.allow(services.caller, Action.CHANGE_CONFIGURATION, "import of a former audit log")
    return services.former_audit.take(sources, services.audit, services.caller)


@contextmanager
def _reading(directory: OtherDirectory) -> Iterator[Connection]:
    credentials = Credentials(directory.bind_dn, directory.password)
    connection = open_as_manager(directory.server, credentials, directory.trust_file)
    try:
        yield connection
    finally:
        connection.close()


def _signer(theirs: TheirSettings, keys: KeyFile, nickname: str) -> KeyBag:
    """The signer's key, which must be that of the certificate in use there. Raises: SigningError, ConfigError."""
    if token := theirs.token("signing"):
        raise SigningError(
            f"{theirs.name}: the signer's key {nickname} is on the token {token}, which no PKCS #12 file holds",
            hint="vouchd create --token LABEL --signer-cert FILE, then vouchd directory adopt",
        )
    if not nickname:
        raise ConfigError(
            f"{theirs.name}: ocsp.signing.certnickname does not name the signer's key", hint="is it set up?"
        )
    bag = keys.bag(nickname)
    if certificate := theirs.certificate("signing"):
        try:
            used = x509.load_der_x509_certificate(base64.b64decode(certificate))
        except ValueError as error:
            raise ConfigError(f"{theirs.name}: ocsp.signing.cert cannot be read: {error}") from error
        if used.public_key() != bag.certificate.public_key():
            raise SigningError(
                f"{keys.path}: the key {nickname} is not the one that signs there now",
                hint="take its keys again: pki-server ocsp-clone-prepare -i INSTANCE --pkcs12-file FILE",
            )
        return replace(bag, certificate=used)
    return bag


def _algorithm(settings: JudgedSettings, bag: KeyBag) -> str:
    """The one that is set there, where the key can make it."""
    wanted = settings.values.get("ocsp.signing.defaultSigningAlgorithm", "")
    possible = algorithms_for(bag.key.public_key())
    return wanted if wanted in possible else possible[0]


def _of_authority(adopted: Adopted) -> Iterator[Finding]:
    authority = adopted.authority
    crls = f"{adopted.taken} CRL{'s' if adopted.taken != 1 else ''} verified and taken"
    yield Finding.taken(
        f"CA {authority.label}", crls if adopted.crls else "it has no CRL there: tryLater until one comes"
    )
    for doubt in adopted.doubts:
        yield Finding.taken(f"signer for {authority.label}", doubt)


def publisher_lines(host: str, port: str) -> tuple[str, ...]:
    """What the CS.cfg of a CA needs to publish its CRLs here, beside or instead of where it publishes now.

    A dot would end the name of a publisher, and the CA would not start.
    """
    place = f"{host}-{port}".replace(".", "-")
    name = f"OCSPPublisher-{place}"
    publisher, rule = f"ca.publish.publisher.instance.{name}", f"ca.publish.rule.instance.ocsprule-{place}"
    return (
        "ca.publish.enable=true",
        f"{publisher}.enableClientAuth=true",
        f"{publisher}.host={host}",
        f"{publisher}.nickName=subsystem",
        f"{publisher}.path=/ocsp/agent/ocsp/addCRL",
        f"{publisher}.pluginName=OCSPPublisher",
        f"{publisher}.port={port}",
        f"{rule}.enable=true",
        f"{rule}.mapper=NoMap",
        f"{rule}.pluginName=Rule",
        f"{rule}.publisher={name}",
        f"{rule}.type=crl",
    )


_NSS_FILES = ("key4.db", "cert9.db", "key3.db", "cert8.db", "secmod.db", "pkcs11.txt")
_SQLITE = b"SQLite format 3\0"
_BERKELEY = bytes.fromhex("00061561")  # at the start of a hash of Berkeley DB 1.85, which cert8.db is
_NSS_HINT = (
    "export the keys first: pki-server ocsp-clone-prepare -i INSTANCE --pkcs12-file FILE --pkcs12-password-file FILE,"
    " or PKCS12Export -d {folder} -p NSS-PASSWORD-FILE -o FILE -w PASSWORD-FILE"
)


def require_no_nss_database(path: Path) -> None:
    """Return unless `path` is an NSS database, or the folder of one. Raises: SigningError with the way out of it."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        names = [name for name in _NSS_FILES if (path / name).exists()]
        what = f"the folder of an NSS database ({', '.join(names)})" if names else "a folder"
        raise SigningError(f"{path}: {what}, not a PKCS #12 file", hint=_NSS_HINT.format(folder=folder))
    if path.name in _NSS_FILES or read_head(path, len(_SQLITE)).startswith((_SQLITE, _BERKELEY)):
        raise SigningError(
            f"{path}: a file of an NSS database, not a PKCS #12 file", hint=_NSS_HINT.format(folder=folder)
        )
