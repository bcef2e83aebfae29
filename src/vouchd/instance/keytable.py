"""Every key that CS.cfg may hold, declared once: the parser, the settings and the documentation read this table.

A name may hold a placeholder for one segment (`vouchd.source.<name>.url`) or end in `.*` (a whole family).
"""

from __future__ import annotations

from vouchd.core.facts import ExpiredCRLPolicy
from vouchd.core.policy import AnswerRecords, ClientAddress, NoncePolicy, RequestSignaturePolicy, UnknownIssuerPolicy
from vouchd.instance.setkeys import SET_KEYS
from vouchd.settings.kinds import ANYTHING, DIGESTS, FILE, FLAG, SELFTESTS, TEXT, KnownKey, choice, inert, integer, word
from vouchd.service.selftests import ON_DEMAND_TESTS, STARTUP_TESTS

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
