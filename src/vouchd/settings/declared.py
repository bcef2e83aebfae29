"""The settings of an instance as frozen dataclasses; each field declares the key of CS.cfg that fills it.

Bounds, default, unit and meaning of a key stand with its field and nowhere else; so does whether all members of a set
share it. What has a file of its own (ports, signing keys, audit log, alerts, four eyes, CRLs in directories) is part of
`Settings` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vouchd.core.facts import DirectoryServer, ExpiredCRLPolicy, Group
from vouchd.core.policy import (
    NoncePolicy,
    RequestSignaturePolicy,
    ResponsePolicy,
    UnknownIssuerPolicy,
)
from vouchd.service.selftests import ON_DEMAND_TESTS, STARTUP_TESTS, Planned
from vouchd.settings import ldap_store
from vouchd.settings.audit_log import AUDIT_FILTER, AuditSettings
from vouchd.settings.carriers import CarrierSettings
from vouchd.settings.four_eyes import FourEyesSettings
from vouchd.settings.keys import KnownKey, composed, key, keys_of, part, parts
from vouchd.settings.kinds import (
    DIGESTS,
    FILE,
    FLAG,
    SELFTESTS,
    TEXT,
    choice,
    integer,
    word,
)
from vouchd.settings.ldap_store import LDAPStoreSettings
from vouchd.settings.signing_keys import DEFAULT_ALGORITHM, RenewalSettings, SignerSettings, TokenSettings
from vouchd.settings.tcp_ports import AgentPort, EEPort, HealthPort, KeyFiles, key_files
from vouchd.settings.without_effect import WITHOUT_EFFECT

EMBEDDED = "embedded"
DIRECTORY = "directory"
BASIC_AUTH, CLIENT_AUTH = "BasicAuth", "SslClientAuth"
_DAY = 86400
_POLICY = ResponsePolicy()


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where the way of each CRL is told to."""

    endpoint: str = key(
        "vouchd.tracing.endpoint",
        TEXT,
        "",
        "Where spans of each CRL's way are sent, OTLP over HTTP, as http://127.0.0.1:4318/v1/traces; empty: nowhere.",
    )


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Whole backups that the instance makes by itself, each proved; sealed with the password `backup`."""

    interval_seconds: int = key(
        "vouchd.backup.intervalInSec",
        integer(0, 366 * _DAY),
        0,
        "Make a whole backup this often and prove it; 0: never.",
        unit="seconds",
    )
    folder: Path | None = key("vouchd.backup.folder", FILE, "backups", "Where they go; best another file system.")
    keep: int = key(
        "vouchd.backup.keep", integer(1, 10000), 14, "How many of them are kept; the oldest is removed after a new one."
    )
    max_age_seconds: int = key(
        "vouchd.backup.maxAgeInSec",
        integer(0, 366 * _DAY),
        0,
        "Alert when the last proved backup is older; 0: two intervals, or never without one.",
        unit="seconds",
    )

    @property
    def oldest_seconds(self) -> int:
        """The age at which somebody is told, 0: never."""
        return self.max_age_seconds or 2 * self.interval_seconds


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
    url: str = key(
        "vouchd.source.<name>.url",
        TEXT,
        "",
        "Where CRLs are fetched: http(s)://, file:// or a path, ldap(s)://HOST/DN?ATTRIBUTE.",
        required="URL",
    )
    interval_seconds: int = key(
        "vouchd.source.<name>.intervalInSec",
        integer(1, 31 * _DAY),
        3600,
        "Fetch at least this often, and before the CRL's nextUpdate.",
        unit="seconds",
    )
    timeout_seconds: int = key(
        "vouchd.source.<name>.timeoutInSec", integer(1, 3600), 30, "Give up one attempt after.", unit="seconds"
    )
    max_bytes: int = 1 << 30  # of one CRL: `Settings.max_crl_bytes`
    certificate_attribute: str = ""  # of CAs that are answered for where they are found: see settings.ldap_store
    trust_file: Path | None = key(
        "vouchd.source.<name>.trust", FILE, "", "Roots for https and ldaps (PEM); empty: the system's."
    )
    local_redirects: bool = key(
        "vouchd.source.<name>.localRedirects",
        FLAG,
        default=False,
        about="Redirects may lead to this host, its link or its cloud's metadata.",
    )
    paused: bool = key(
        "vouchd.source.<name>.paused",
        FLAG,
        default=False,
        about="It is not fetched from by itself, only when asked to.",
    )
    bind_dn: str = key(
        "vouchd.source.<name>.bindDN", TEXT, "", "LDAP bind; its password is `source.<name>` in password.conf."
    )
    client_certificate: str = key(
        "vouchd.source.<name>.clientCertNickname",
        TEXT,
        "",
        "LDAP bind in TLS with this system certificate, as `vouchd certs list` names it, instead of a password.",
    )


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """How many roles one user may have."""

    several: bool = key(
        "multiroles.enable", FLAG, default=True, about="A user may be in several groups that give rights.", shared=True
    )
    exclusive_groups: str = key(
        "multiroles.false.groupEnforceList",
        TEXT,
        ",".join(Group),
        "With `multiroles.enable=false`: a user may be in one of these groups only.",
        shared=True,
    )

    @property
    def exclusive(self) -> frozenset[str]:
        """The groups of which a user may be in one; none where several are allowed."""
        return frozenset() if self.several else frozenset(name.strip() for name in self.exclusive_groups.split(","))


@dataclass(frozen=True, slots=True)
class SelfTestSettings:
    """Which self tests run when, and what they look for."""

    startup: tuple[Planned, ...] = key(
        "selftests.container.order.startup",
        SELFTESTS,
        STARTUP_TESTS,
        "The self tests at start, in order; when a critical one fails the instance does not start.",
        shared=True,
    )
    on_demand: tuple[Planned, ...] = key(
        "selftests.container.order.onDemand",
        SELFTESTS,
        ON_DEMAND_TESTS,
        "Those on demand; when a critical one fails the instance stops answering until it passes.",
        shared=True,
    )
    min_free_bytes: int = key(
        "selftests.plugin.DiskSpace.minFreeBytes",
        integer(0, 1 << 50),
        64 << 20,
        "DiskSpace: what has to be free on each file system of the instance.",
        unit="bytes",
        shared=True,
    )
    at_once: int = key(
        "selftests.plugin.OCSPCanary.beforeAnswering",
        integer(1, 1_000_000),
        500,
        "So many CAs are proved before the first answer of a start; the others, each answered tryLater until it is,"
        " while it answers.",
        shared=True,
    )
    tolerance_seconds: int = key(
        "selftests.plugin.ClockVerification.toleranceInSec",
        integer(0, _DAY),
        300,
        "ClockVerification: how far the clock may be behind what others told.",
        unit="seconds",
        shared=True,
    )


REQUESTOR_TRUST = KnownKey(
    "vouchd.request.trust",
    FILE,
    "",
    "Requestors' certificates, or their CAs' (PEM), for signature=verify and require.",
)
STORE = KnownKey("vouchd.store", choice(EMBEDDED, DIRECTORY), EMBEDDED, "Where facts are kept: a file here, or LDAP.")
STORE_ID = KnownKey(
    "ocsp.storeId",
    choice("defStore", ldap_store.NAME),
    "defStore",
    "Where CAs and CRLs come from: brought here (CRLs in a directory are a source then), or found in directories.",
    shared=True,
)
LDAPS = KnownKey("internaldb.ldapconn.secureConn", FLAG, default=False, about="TLS from the first octet (LDAPS).")
START_TLS = KnownKey("vouchd.directory.startTLS", FLAG, default=False, about="TLS by StartTLS on the plain port.")


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """The directory server that keeps the facts instead of the embedded store."""

    server: DirectoryServer = composed(
        DirectoryServer,
        host=KnownKey(
            "internaldb.ldapconn.host", TEXT, "", "The directory server, by its fully qualified name.", required="HOST"
        ),
        port=KnownKey("internaldb.ldapconn.port", integer(1, 65535), 389, "Its port."),
        suffix=KnownKey(
            "internaldb.basedn", TEXT, "", "The suffix, the same for every member of a set.", required="SUFFIX"
        ),
        replica_id=KnownKey(
            "vouchd.directory.replicaId", integer(0, 65534), 0, "Its replica id, unique in the set; 0: no replica."
        ),
    )
    bind_dn: str = key(
        "internaldb.ldapauth.bindDN",
        TEXT,
        "cn=vouchd,ou=csusers,cn=config",
        "The instance's account there; its password is `internaldb` in password.conf.",
    )
    trust_file: Path | None = key(
        "vouchd.directory.trust", FILE, "", "CAs of the directory server (PEM); empty: the system's."
    )
    bind: str = key(
        "internaldb.ldapauth.authtype",
        choice(BASIC_AUTH, CLIENT_AUTH),
        BASIC_AUTH,
        "How it binds: by password, or over TLS with a client certificate.",
    )
    client_certificate: str = key(
        "internaldb.ldapauth.clientCertNickname",
        TEXT,
        "subsystem",
        "Which system certificate it is, as `vouchd certs list` names it.",
    )


@dataclass(frozen=True, slots=True)
class SetSettings:
    """The set of members that the instance belongs to."""

    domain: str = key(
        "securitydomain.name", TEXT, "vouchd", "The security domain that master and clones are in.", shared=True
    )
    host: str = key(
        "vouchd.domain.host", TEXT, "", "The fully qualified name under which other members reach this host."
    )
    master: str = key(
        "vouchd.clone.master",
        TEXT,
        "",
        "Embedded store: the master to follow, HOST:PORT of its agent port; empty: this is no clone.",
    )
    stale_seconds: int = key(
        "vouchd.clone.staleInSec",
        integer(0, _DAY),
        60,
        "Answer tryLater for a CA when a newer CRL has been known for so long and is not answered from; 0: never.",
        unit="seconds",
        shared=True,
    )
    peers_seconds: int = key(
        "vouchd.clone.peersInSec",
        integer(1, 3600),
        5,
        "Look at the other members this often.",
        unit="seconds",
        shared=True,
    )
    verify_seconds: int = key(
        "vouchd.clone.verifyInSec",
        integer(0, _DAY),
        300,
        "Compare lists and answers with the other members this often; 0: never.",
        unit="seconds",
        shared=True,
    )


@dataclass(frozen=True, slots=True)
class CertificateSystemSettings:
    """The OCSP manager of a Certificate System whose CAs and CRLs this instance answers from, as its clone."""

    url: str = key(
        "vouchd.certsystem.url",
        TEXT,
        "",
        "Its internal database, or a replica of that, ldap[s]://HOST:PORT/SUFFIX, which is followed; empty: none.",
    )
    start_tls: bool = key("vouchd.certsystem.startTLS", FLAG, default=False, about="StartTLS on the plain port of it.")
    trust_file: Path | None = key(
        "vouchd.certsystem.trust", FILE, "", "CAs of that directory server (PEM); empty: the system's."
    )
    bind_dn: str = key(
        "vouchd.certsystem.bindDN",
        TEXT,
        "cn=vouchd reader,ou=csusers,cn=config",
        "Who reads there; the password is `certsystem` in password.conf.",
    )
    responder: str = key(
        "vouchd.certsystem.responder",
        TEXT,
        "",
        "Its OCSP service, http://HOST:PORT/ocsp/ee/ocsp: `vouchd clone verify` compares answers with it.",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that CS.cfg says, with defaults filled in and paths made absolute."""

    root: Path
    responder: ResponsePolicy = composed(
        ResponsePolicy,
        not_found_as_good=KnownKey(
            "ocsp.store.defStore.notFoundAsGood",
            FLAG,
            _POLICY.not_found_as_good,
            "A serial that no CRL of its CA lists: good, or else unknown.",
            shared=True,
        ),
        include_next_update=KnownKey(
            "ocsp.store.defStore.includeNextUpdate",
            FLAG,
            _POLICY.include_next_update,
            "Answers tell the CRL's nextUpdate (the Certificate System: false).",
            shared=True,
        ),
        reasons=KnownKey(
            "vouchd.response.reasons",
            FLAG,
            _POLICY.reasons,
            "Answers tell why a certificate was revoked; the Certificate System's OCSPClient fails on those that do.",
            shared=True,
        ),
        by_name=KnownKey(
            "ocsp.store.defStore.byName",
            FLAG,
            _POLICY.by_name,
            "The responder ID is the signer's name instead of its key hash.",
            shared=True,
        ),
        send_root=KnownKey(
            "vouchd.response.sendRoot",
            FLAG,
            _POLICY.send_root,
            "A self-signed root in a signer's chain is sent along, too; clients go by their own.",
            shared=True,
        ),
        reject_algorithms=KnownKey(
            "ocsp.rejectAlgorithms",
            DIGESTS,
            _POLICY.reject_algorithms,
            "CertID digests that are refused.",
            shared=True,
        ),
        nonce=KnownKey(
            "vouchd.request.nonce",
            word(NoncePolicy),
            _POLICY.nonce,
            "What is done with a nonce (RFC 9654).",
            shared=True,
        ),
        signature=KnownKey(
            "vouchd.request.signature",
            word(RequestSignaturePolicy),
            _POLICY.signature,
            "What is done with the signature of a request.",
            shared=True,
        ),
        max_cert_ids=KnownKey(
            "vouchd.request.maxCertIDs",
            integer(1, 10000),
            _POLICY.max_cert_ids,
            "CertIDs in one request; more are refused.",
            shared=True,
        ),
        unknown_issuer=KnownKey(
            "vouchd.response.unknownIssuer",
            word(UnknownIssuerPolicy),
            _POLICY.unknown_issuer,
            "Answer for a CA that is not ours: the error unauthorized, or a signed unknown.",
            shared=True,
        ),
        expired_crl=KnownKey(
            "vouchd.response.expiredCRL",
            word(ExpiredCRLPolicy),
            _POLICY.expired_crl,
            "Answer from a CRL past its nextUpdate (the Certificate System: as if fresh).",
            shared=True,
        ),
    )
    agent: AgentPort = part(AgentPort, required=True)
    subsystem: KeyFiles = key_files("vouchd.subsystem", "subsystem", "The key that the instance is a TLS client with.")
    audit_signing: KeyFiles = key_files("vouchd.auditSigning", "audit_signing", "The key that signs the audit log.")
    admin: KeyFiles = key_files(
        "vouchd.admin", "admin", "The key of the administrator that was made with the instance."
    )
    audit: AuditSettings = part(AuditSettings)
    selftests: SelfTestSettings = part(SelfTestSettings)
    ee: EEPort = part(EEPort)
    health: HealthPort = part(HealthPort)
    tracing: TracingSettings = part(TracingSettings)
    default_signer: str = key(
        "ocsp.signing.certnickname",
        TEXT,
        "",
        "The default signer: a nickname of vouchd.signer.<nickname>; empty: the only one.",
        shared=True,
    )
    signers: tuple[SignerSettings, ...] = parts(SignerSettings, ())
    renewals: tuple[RenewalSettings, ...] = parts(RenewalSettings, ())
    token: TokenSettings = part(TokenSettings)
    max_crl_bytes: int = key(
        "vouchd.crl.maxBytes",
        integer(1024, 1 << 31),
        1 << 30,
        "A larger CRL is refused before it is read.",
        unit="bytes",
        shared=True,
    )
    former_crls: int = key(
        "vouchd.crl.former",
        integer(0, 1000),
        5,
        "How many CRLs of before are kept for each issuing point, to be looked at, downloaded and compared.",
        shared=True,
    )
    former_crl_bytes: int = key(
        "vouchd.crl.formerBytes",
        integer(0, 1 << 40),
        8 << 20,
        "Of how many bytes together those CRLs may be; one that is too large for that is not kept.",
        unit="bytes",
        shared=True,
    )
    sources: tuple[SourceSettings, ...] = parts(SourceSettings, ())
    carriers: tuple[CarrierSettings, ...] = parts(CarrierSettings, ())
    backup: BackupSettings = part(BackupSettings)
    refresh_seconds: int = key(
        "ocsp.store.defStore.refreshInSec",
        integer(0, 366 * _DAY),
        0,
        "Read everything from the store again this often; 0: only when it changed. 21600 marks a clone.",
        unit="seconds",
    )
    store: Path = Path("db/vouchd.sqlite")  # the embedded store
    directory: DirectorySettings | None = parts(DirectorySettings, None)  # instead of the embedded store
    roles: RoleSettings = part(RoleSettings)
    four_eyes: FourEyesSettings = part(FourEyesSettings)
    ldap_store: LDAPStoreSettings = part(LDAPStoreSettings)
    of_set: SetSettings = part(SetSettings)
    certsystem: CertificateSystemSettings = part(CertificateSystemSettings)
    warnings: tuple[str, ...] = ()  # inert keys and the like, to be shown once at start

    @property
    def member_id(self) -> str:
        """What this instance is called in the registry of its set: see `core.facts.Member.id`."""
        return f"{self.of_set.host}:{self.agent.port}"


# Every key that CS.cfg may hold: those of the settings, those that settings are made from, those without effect.
KNOWN: tuple[KnownKey, ...] = (
    *keys_of(Settings),
    DEFAULT_ALGORITHM,
    REQUESTOR_TRUST,
    STORE,
    LDAPS,
    START_TLS,
    STORE_ID,
    AUDIT_FILTER,
    *WITHOUT_EFFECT,
)
