"""The settings of an instance as frozen dataclasses; each field's comment is its documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vouchd.core.facts import DirectoryServer
from vouchd.core.policy import AnswerRecords, ClientAddress, ResponsePolicy
from vouchd.service.selftests import Planned


@dataclass(frozen=True, slots=True)
class EEPort:
    """The end-entity port: OCSP over plain HTTP, served by the worker processes."""

    host: str = "0.0.0.0"  # noqa: S104  a responder is a public service: all addresses unless told otherwise
    port: int = 8080  # TCP port; 0 lets the system choose one
    workers: int = 0  # worker processes; 0: one per core
    max_header_bytes: int = 16384  # request line (a GET carries the request) and headers together
    max_body_bytes: int = 65536  # of a POST
    idle_seconds: int = 60  # keep-alive without a request
    header_seconds: int = 10  # from a request's first byte to its last
    max_connections: int = 10000  # open at one time in one worker
    max_in_flight: int = 256  # signatures under way or waiting in one worker; beyond: tryLater
    cache_entries: int = 100_000  # complete HTTP answers kept by one worker


@dataclass(frozen=True, slots=True)
class HealthPort:
    """The port of /healthz, /readyz and /metrics, served by the manager process."""

    host: str = "127.0.0.1"
    port: int = 8081  # 0 lets the system choose one


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a system key of the instance is, and its certificate when it has come."""

    key_file: Path  # encrypted PKCS #8 PEM; its password is `internal` in password.conf
    certificate_file: Path  # PEM: the certificate, then those between it and the CA

    @property
    def installed(self) -> bool:
        """Whether both are there."""
        return self.key_file.exists() and self.certificate_file.exists()


@dataclass(frozen=True, slots=True)
class AgentPort:
    """The agent port: TLS with client certificates, served by the manager process; off until `tls.installed`."""

    tls: KeyFiles
    host: str = "0.0.0.0"  # noqa: S104  agents and publishing CAs come from other hosts
    port: int = 8443  # TCP port; 0 lets the system choose one
    trust_file: Path | None = None  # PEM; CAs of client certificates besides the registered CAs
    max_header_bytes: int = 16384
    max_body_bytes: int = 256 << 20  # a CRL comes as a form, so base64
    idle_seconds: int = 60  # keep-alive without a request
    header_seconds: int = 10  # TLS handshake; request line and headers
    body_seconds: int = 300  # from the headers' end to the body's
    max_connections: int = 1000


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The audit log: when a file is put aside, how it is signed, which answers are in it."""

    max_bytes: int = 2000 << 10  # 0: no limit
    max_age_seconds: int = 30 * 86400  # since the first record of the file; 0: no limit
    expires_seconds: int = 0  # a file that was put aside is deleted after that; 0: never
    sign: bool = True  # when the audit signing certificate is installed
    flush_seconds: int = 5  # a signature at most so often
    answers: AnswerRecords = AnswerRecords.NONE
    sample: int = 1000  # `sampled`: one answer in so many
    client_address: ClientAddress = ClientAddress.TRUNCATED


@dataclass(frozen=True, slots=True)
class SignerSettings:
    """One key that signs responses."""

    nickname: str
    key_file: Path  # encrypted PKCS #8 PEM
    certificate_file: Path  # PEM; the delegated signer's certificate
    chain_file: Path | None = None  # PEM; certificates sent along between the signer and the CA
    algorithm: str = ""  # of core.signatures.ALGORITHMS; empty: the key's usual one


class SourceKind(StrEnum):
    """How a CRL is fetched."""

    HTTP = "http"
    FILE = "file"
    LDAP = "ldap"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One place where CRLs are fetched from."""

    name: str
    kind: SourceKind
    url: str  # http(s)://…, file:///… or a path, ldap(s)://host/dn?attribute
    interval_seconds: int = 3600  # at least this often, also before the CRL's nextUpdate
    timeout_seconds: int = 30  # of one attempt
    max_bytes: int = 1 << 30  # of one CRL
    trust_file: Path | None = None  # PEM; roots for https and ldaps instead of the system's
    bind_dn: str = ""  # LDAP simple bind; its password is `source.NAME` in password.conf


@dataclass(frozen=True, slots=True)
class SelfTestSettings:
    """Which self tests run when, and what they look for."""

    startup: tuple[Planned, ...]
    on_demand: tuple[Planned, ...]
    min_free_bytes: int = 64 << 20  # on each file system of the instance
    tolerance_seconds: int = 300  # how far the clock may be behind what others told


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """The directory server that keeps the facts instead of the embedded store."""

    server: DirectoryServer
    bind_dn: str  # its password is `internaldb` in password.conf
    trust_file: Path | None = None  # PEM; CAs of the server's certificate instead of the system's


@dataclass(frozen=True, slots=True)
class SetSettings:
    """The set of members that the instance belongs to."""

    domain: str = "vouchd"  # name of the security domain
    host: str = ""  # fully qualified name of this host, as other members know it; empty: it has no others
    master: str = ""  # HOST:PORT of the agent port that an embedded clone follows
    stale_seconds: int = 60  # how far behind another member a CA may be answered for; 0: no bound
    peers_seconds: int = 5  # between two looks at the other members
    verify_seconds: int = 300  # between two comparisons with them; 0: none


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that CS.cfg says, with defaults filled in and paths made absolute."""

    root: Path
    responder: ResponsePolicy
    agent: AgentPort
    subsystem: KeyFiles  # the instance's identity as a TLS client
    audit_signing: KeyFiles
    audit: AuditSettings
    selftests: SelfTestSettings
    admin: KeyFiles  # of the administrator that was made with the instance
    ee: EEPort = field(default_factory=EEPort)
    health: HealthPort = field(default_factory=HealthPort)
    max_crl_bytes: int = 1 << 30  # a larger CRL is refused before it is read
    signers: tuple[SignerSettings, ...] = ()
    default_signer: str = ""  # nickname
    sources: tuple[SourceSettings, ...] = ()
    refresh_seconds: int = 0  # refreshInSec: re-read everything from the store this often; 0: only on change
    store: Path = Path("db/vouchd.sqlite")  # the embedded store
    directory: DirectorySettings | None = None  # the store when there is one, instead of the embedded one
    of_set: SetSettings = field(default_factory=SetSettings)
    warnings: tuple[str, ...] = ()  # inert keys and the like, to be shown once at start

    @property
    def member_id(self) -> str:
        """What this instance is called in the registry of its set: see `core.facts.Member.id`."""
        return f"{self.of_set.host}:{self.agent.port}"
