"""The settings of an instance as frozen dataclasses; each field's comment is its documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vouchd.core.facts import DirectoryServer, ExpiredCRLPolicy
from vouchd.core.policy import (
    AnswerRecords,
    ClientAddress,
    NoncePolicy,
    RequestSignaturePolicy,
    ResponsePolicy,
    UnknownIssuerPolicy,
)
from vouchd.service.selftests import ON_DEMAND_TESTS, STARTUP_TESTS, Planned
from vouchd.settings.kinds import ANYTHING, DIGESTS, FILE, FLAG, SELFTESTS, TEXT, KnownKey, choice, inert, integer, word

# The keys of CS.cfg about the set an instance belongs to: its directory server, its security domain, its master.

EMBEDDED = "embedded"
DIRECTORY = "directory"
_DAY = 86400

SET_KEYS = (
    KnownKey("vouchd.store", choice(EMBEDDED, DIRECTORY), EMBEDDED, "Where facts are kept: a file here, or LDAP."),
    KnownKey("internaldb.ldapconn.host", TEXT, "", "The directory server, by its fully qualified name."),
    KnownKey("internaldb.ldapconn.port", integer(1, 65535), 389, "Its port."),
    KnownKey("internaldb.ldapconn.secureConn", FLAG, default=False, about="TLS from the first octet (LDAPS)."),
    KnownKey("internaldb.basedn", TEXT, "", "The suffix, the same for every member of a set."),
    KnownKey(
        "internaldb.ldapauth.bindDN",
        TEXT,
        "cn=vouchd,ou=csusers,cn=config",
        "The instance's account there; its password is `internaldb` in password.conf.",
    ),
    KnownKey("vouchd.directory.startTLS", FLAG, default=False, about="TLS by StartTLS on the plain port."),
    KnownKey("vouchd.directory.trust", FILE, "", "CAs of the directory server (PEM); empty: the system's."),
    KnownKey(
        "vouchd.directory.replicaId",
        integer(0, 65534),
        0,
        "Its replica id, unique in the set; 0: no replica.",
    ),
    KnownKey("securitydomain.name", TEXT, "vouchd", "The security domain that master and clones are in."),
    KnownKey("vouchd.domain.host", TEXT, "", "The fully qualified name under which other members reach this host."),
    KnownKey(
        "vouchd.clone.master",
        TEXT,
        "",
        "Embedded store: the master to follow, HOST:PORT of its agent port; empty: this is no clone.",
    ),
    KnownKey(
        "vouchd.clone.staleInSec",
        integer(0, _DAY),
        60,
        "Answer tryLater for a CA when another member has had a newer CRL for so long (seconds); 0: never.",
    ),
    KnownKey("vouchd.clone.peersInSec", integer(1, 3600), 5, "Look at the other members this often (seconds)."),
    KnownKey(
        "vouchd.clone.verifyInSec",
        integer(0, _DAY),
        300,
        "Compare lists and answers with the other members this often (seconds); 0: never.",
    ),
)


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


# Every key that CS.cfg may hold, declared once: the parser, the settings and the documentation read this table.

_MAX_INTEGER = 2**31 - 1
_DAY = 86400
_INTERNAL_TOKENS = ("", "internal", "Internal Key Storage Token")


_STORE = (
    KnownKey("ocsp.storeId", choice("defStore"), "defStore", "The active store; CRLs from a directory are a source."),
    KnownKey(
        "ocsp.store.defStore.notFoundAsGood",
        FLAG,
        default=True,
        about="A serial that no CRL of its CA lists: good, or else unknown.",
    ),
    KnownKey(
        "ocsp.store.defStore.includeNextUpdate",
        FLAG,
        default=True,
        about="Answers tell the CRL's nextUpdate (the Certificate System: false).",
    ),
    KnownKey(
        "ocsp.store.defStore.byName",
        FLAG,
        default=False,
        about="The responder ID is the signer's name instead of its key hash.",
    ),
    KnownKey(
        "ocsp.store.defStore.refreshInSec",
        integer(0, 366 * _DAY),
        0,
        "Read everything from the store again this often (seconds); 0: only when it changed. 21600 marks a clone.",
    ),
    inert("ocsp.store.defStore.class", "There is one store class."),
    inert("ocsp.store.defStore.useCache", "The revocation index is always used."),
    inert("ocsp.store.defStore.waitOnCRLUpdate", "A CRL is durable before its acceptance is reported."),
    inert("ocsp.store.ldapStore.*", "Use a source with an ldap:// URL: vouchd.source.<name>.url."),
)
_SIGNING = (
    KnownKey("ocsp.rejectAlgorithms", DIGESTS, frozenset(), "CertID digests that are refused."),
    KnownKey("ocsp.signing.certnickname", TEXT, "", "The default signer: a nickname of vouchd.signer.<nickname>."),
    KnownKey("ocsp.signing.tokenname", choice(*_INTERNAL_TOKENS), "internal", "Where the key is: internal, a file."),
    KnownKey(
        "ocsp.signing.defaultSigningAlgorithm",
        TEXT,
        "",
        "Algorithm of the default signer; empty: the key's usual one.",
    ),
    inert("ocsp.signing.cacertnickname", "The signer's CA is found among the registered CAs."),
    inert("ocsp.ocsp_signing.*", "Certificate and request of the installer; the signer is vouchd.signer.<nickname>."),
    inert("ocsp.audit_signing.*", "Certificate and request of the installer."),
    inert("ocsp.sslserver.*", "Certificate and request of the installer."),
    inert("ocsp.subsystem.*", "Certificate and request of the installer."),
    inert("ocsp.crlVerify.token", "CRLs are verified in software."),
    inert("ocsp.certNickname", "The signer is ocsp.signing.certnickname."),
    inert("ocsp.cert.*", "Input of the Certificate System's self tests."),
    KnownKey(
        "vouchd.signer.<nickname>.key",
        FILE,
        "",
        "Encrypted PKCS #8 key (PEM, 0600); its password is `internal` in password.conf.",
    ),
    KnownKey("vouchd.signer.<nickname>.certificate", FILE, "", "The signer's certificate (PEM)."),
    KnownKey("vouchd.signer.<nickname>.chain", FILE, "", "Certificates sent along between signer and CA (PEM)."),
    KnownKey(
        "vouchd.signer.<nickname>.algorithm",
        TEXT,
        "",
        "Signature algorithm, as SHA256withRSA; empty: the key's usual one.",
    ),
)
_PORTS = (
    KnownKey("vouchd.ee.host", TEXT, "0.0.0.0", "Address of the EE port; :: for IPv6."),  # noqa: S104  see EEPort
    KnownKey("vouchd.ee.port", integer(0, 65535), 8080, "TCP port of OCSP; 0: chosen by the system."),
    KnownKey("vouchd.ee.workers", integer(0, 256), 0, "Worker processes; 0: one per core."),
    KnownKey("vouchd.ee.maxHeaderBytes", integer(256, 1 << 20), 16384, "Request line and headers together (bytes)."),
    KnownKey("vouchd.ee.maxBodyBytes", integer(64, 1 << 24), 65536, "An OCSP request (bytes), POST or GET."),
    KnownKey("vouchd.ee.idleInSec", integer(1, _DAY), 60, "A connection without a request is closed after (seconds)."),
    KnownKey("vouchd.ee.headerInSec", integer(1, _DAY), 10, "A request must be complete after (seconds)."),
    KnownKey("vouchd.ee.maxConnections", integer(1, 1_000_000), 10000, "Open connections of one worker."),
    KnownKey(
        "vouchd.ee.maxInFlight", integer(1, 1_000_000), 256, "Signatures waiting in one worker; beyond: tryLater."
    ),
    KnownKey("vouchd.ee.cacheEntries", integer(0, 10_000_000), 100_000, "Complete answers kept by one worker."),
    KnownKey("vouchd.health.host", TEXT, "127.0.0.1", "Address of /healthz, /readyz and /metrics."),
    KnownKey("vouchd.health.port", integer(0, 65535), 8081, "TCP port of the same; 0: chosen by the system."),
)
_AGENT = (
    KnownKey("vouchd.agent.host", TEXT, "0.0.0.0", "Address of the agent port; :: for IPv6."),  # noqa: S104  see AgentPort
    KnownKey("vouchd.agent.port", integer(0, 65535), 8443, "TCP port of agents and publishing CAs (TLS)."),
    KnownKey("vouchd.agent.key", FILE, "alias/sslserver.key", "Its encrypted PKCS #8 key (PEM, 0600)."),
    KnownKey(
        "vouchd.agent.certificate",
        FILE,
        "alias/sslserver.pem",
        "Its TLS server certificate and chain (PEM); the port is off until it is there.",
    ),
    KnownKey("vouchd.agent.trust", FILE, "", "CAs of client certificates besides the registered CAs (PEM)."),
    KnownKey(
        "vouchd.agent.maxHeaderBytes", integer(1024, 1 << 20), 16384, "Request line and headers together (bytes)."
    ),
    KnownKey(
        "vouchd.agent.maxBodyBytes", integer(1024, 1 << 31), 256 << 20, "A request's body (bytes), a CRL's mostly."
    ),
    KnownKey(
        "vouchd.agent.idleInSec", integer(1, _DAY), 60, "A connection without a request is closed after (seconds)."
    ),
    KnownKey(
        "vouchd.agent.headerInSec", integer(1, _DAY), 10, "Handshake and headers must be complete after (seconds)."
    ),
    KnownKey("vouchd.agent.bodyInSec", integer(1, _DAY), 300, "A request's body must be complete after (seconds)."),
    KnownKey("vouchd.agent.maxConnections", integer(1, 100_000), 1000, "Open connections of the agent port."),
    KnownKey("vouchd.subsystem.key", FILE, "alias/subsystem.key", "The key that the instance is a TLS client with."),
    KnownKey("vouchd.subsystem.certificate", FILE, "alias/subsystem.pem", "Its certificate and chain (PEM)."),
    KnownKey("vouchd.auditSigning.key", FILE, "alias/audit_signing.key", "The key that signs the audit log."),
    KnownKey("vouchd.auditSigning.certificate", FILE, "alias/audit_signing.pem", "Its certificate and chain (PEM)."),
    KnownKey(
        "vouchd.admin.key", FILE, "alias/admin.key", "The key of the administrator that was made with the instance."
    ),
    KnownKey("vouchd.admin.certificate", FILE, "alias/admin.pem", "Its certificate and chain (PEM)."),
)
_AUDIT = (
    KnownKey(
        "log.instance.SignedAudit.maxFileSize", integer(0, 1 << 30), 2000, "Another file is begun at (KiB); 0: never."
    ),
    KnownKey(
        "log.instance.SignedAudit.rolloverInterval",
        integer(0, _MAX_INTEGER),
        30 * _DAY,
        "Another file is begun after (seconds); 0: never.",
    ),
    KnownKey(
        "log.instance.SignedAudit.expirationTime",
        integer(0, _MAX_INTEGER),
        0,
        "A file that was put aside is deleted when its last record is older (seconds); 0: never.",
    ),
    KnownKey(
        "log.instance.SignedAudit.logSigning",
        FLAG,
        default=True,
        about="Sign the audit log once its certificate is installed (the Certificate System: false).",
    ),
    KnownKey("log.instance.SignedAudit.flushInterval", integer(1, _DAY), 5, "At most one signature in (seconds)."),
    KnownKey(
        "vouchd.audit.answers",
        word(AnswerRecords),
        AnswerRecords.NONE,
        "Which answers leave an OCSP_GENERATION record.",
    ),
    KnownKey("vouchd.audit.sample", integer(1, 1_000_000_000), 1000, "answers=sampled: one answer in so many."),
    KnownKey(
        "vouchd.audit.clientAddress",
        word(ClientAddress),
        ClientAddress.TRUNCATED,
        "A client's address in records of answers and sessions: left out, cut to /24 or /48, hashed with a key of the"
        " start, or whole.",
    ),
    inert("log.instance.SignedAudit.*", "The audit log is always on, with every event, in logs/audit.jsonl."),
)
_POLICY = (
    KnownKey("vouchd.request.nonce", word(NoncePolicy), NoncePolicy.ECHO, "What is done with a nonce (RFC 9654)."),
    KnownKey(
        "vouchd.request.signature",
        word(RequestSignaturePolicy),
        RequestSignaturePolicy.IGNORE,
        "What is done with the signature of a request.",
    ),
    KnownKey(
        "vouchd.request.trust",
        FILE,
        "",
        "Requestors' certificates, or their CAs' (PEM), for signature=verify and require.",
    ),
    KnownKey("vouchd.request.maxCertIDs", integer(1, 10000), 100, "CertIDs in one request; more are refused."),
    KnownKey(
        "vouchd.response.unknownIssuer",
        word(UnknownIssuerPolicy),
        UnknownIssuerPolicy.UNAUTHORIZED,
        "Answer for a CA that is not ours: the error unauthorized, or a signed unknown.",
    ),
    KnownKey(
        "vouchd.response.expiredCRL",
        word(ExpiredCRLPolicy),
        ExpiredCRLPolicy.TRY_LATER,
        "Answer from a CRL past its nextUpdate (the Certificate System: as if fresh).",
    ),
)
_INGESTION = (
    KnownKey("vouchd.crl.maxBytes", integer(1024, 1 << 31), 1 << 30, "A larger CRL is refused (bytes)."),
    KnownKey(
        "vouchd.source.<name>.url",
        TEXT,
        "",
        "Where CRLs are fetched: http(s)://, file:// or a path, ldap(s)://HOST/DN?ATTRIBUTE.",
    ),
    KnownKey("vouchd.source.<name>.intervalInSec", integer(1, 31 * _DAY), 3600, "Fetch at least this often (seconds)."),
    KnownKey("vouchd.source.<name>.timeoutInSec", integer(1, 3600), 30, "Give up one attempt after (seconds)."),
    KnownKey("vouchd.source.<name>.trust", FILE, "", "Roots for https and ldaps (PEM); empty: the system's."),
    KnownKey("vouchd.source.<name>.bindDN", TEXT, "", "LDAP bind; its password is `source.<name>` in password.conf."),
)
_SELFTESTS = (
    KnownKey(
        "selftests.container.order.startup",
        SELFTESTS,
        STARTUP_TESTS,
        "The self tests at start, in order; when a critical one fails the instance does not start.",
    ),
    KnownKey(
        "selftests.container.order.onDemand",
        SELFTESTS,
        ON_DEMAND_TESTS,
        "Those on demand; when a critical one fails the instance stops answering until it passes.",
    ),
    KnownKey(
        "selftests.plugin.DiskSpace.minFreeBytes",
        integer(0, 1 << 50),
        64 << 20,
        "DiskSpace: what has to be free (bytes).",
    ),
    KnownKey(
        "selftests.plugin.ClockVerification.toleranceInSec",
        integer(0, _DAY),
        300,
        "ClockVerification: how far the clock may be behind what others told (seconds).",
    ),
    inert("selftests.container.instance.*", "Class names of the Certificate System."),
    inert("selftests.container.logger.*", "The results are in the audit log and in `vouchd selftest list`."),
    inert("selftests.plugin.*", "Parameters of the Certificate System's self tests."),
)
_FAMILIES = (
    ("accessEvaluator.*", "Access rules"), ("admin.*", "Interfaces"), ("agent.*", "Interfaces"),
    ("agentGateway.*", "Interfaces"), ("archive.*", "The installer"), ("auths.*", "Authentication plug-ins"),
    ("authz.*", "Authorisation plug-ins"), ("autoShutdown.*", "Automatic shutdown"), ("cloning.*", "Cloning"),
    ("cms.*", "The Certificate System's own"), ("cs.*", "The Certificate System's own"), ("dbs.*", "Number ranges"),
    ("debug.*", "Debug log"), ("ee.*", "Interfaces"), ("eeGateway.*", "Interfaces"),
    ("features.*", "The Certificate System's own"),
    ("http.*", "Ports"), ("https.*", "Ports"), ("instance.*", "The installer"),
    ("internaldb.*", "The internal directory"), ("jobsScheduler.*", "Jobs"), ("jss.*", "The NSS library"),
    ("keys.*", "Key sizes of the installer"), ("log.*", "Logs"), ("multiroles.*", "Roles"), ("oidmap.*", "OID names"),
    ("os.*", "The installer"), ("pkicreate.*", "The installer"), ("pkiremove.*", "The installer"),
    ("pkispawn.*", "The installer"), ("preop.*", "The installer"), ("proxy.*", "Proxy ports"),
    ("registry.*", "Plug-in registry"), ("securitydomain.*", "The security domain"), ("selftests.*", "Self tests"),
    ("service.*", "The installer"), ("smtp.*", "Mail"), ("subsystem.*", "Plug-in registry"),
    ("usrgrp.*", "Users and groups"),
)  # fmt: skip
_COMMENT = KnownKey("_<n>", ANYTHING, "", "A comment in the Certificate System's manner; # starts one.", inert=True)
_SINGLES = (
    "authType", "cmsVersion", "installDate", "instanceId", "instanceRoot", "logs", "machineName",
    "passwordClass", "passwordFile", "pidDir", "pkiUser",
)  # fmt: skip

KNOWN: tuple[KnownKey, ...] = (
    *_STORE,
    *_SIGNING,
    *_PORTS,
    *_AGENT,
    *_AUDIT,
    *_POLICY,
    *_INGESTION,
    *_SELFTESTS,
    *SET_KEYS,
    *(inert(name, f"{about} of the Certificate System.") for name, about in _FAMILIES),
    _COMMENT,
    *(inert(name, "Written by the Certificate System's installer.") for name in _SINGLES),
)
