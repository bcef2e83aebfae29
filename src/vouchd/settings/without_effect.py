"""The keys of a Certificate System's CS.cfg that are accepted with a warning, so that such a file can be taken over."""

from __future__ import annotations

from vouchd.settings.keys import KnownKey, inert
from vouchd.settings.kinds import ANYTHING

_SINGLES = (
    "authType", "cmsVersion", "configurationRoot", "installDate", "instanceId", "instanceRoot", "logs", "machineName",
    "multiroles", "passwordClass", "passwordFile", "pidDir", "pkiUser",
)  # fmt: skip

# What the key, or each key of the family, is for there.
_FAMILIES = (
    ("accessEvaluator.*", "Access rules"), ("admin.*", "Interfaces"), ("agent.*", "Interfaces"),
    ("agentGateway.*", "Interfaces"), ("archive.*", "The installer"), ("auths.*", "Authentication plug-ins"),
    ("authz.*", "Authorisation plug-ins"), ("autoShutdown.*", "Automatic shutdown"), ("cloning.*", "Cloning"),
    ("cmc.*", "Enrolment"), ("cms.*", "Settings of all subsystems"), ("CrossCertPair.*", "Cross-certificates"),
    ("cs.*", "The kind of subsystem"), ("dbs.*", "Number ranges"),
    ("debug.*", "Debug log"), ("ee.*", "Interfaces"), ("eeGateway.*", "Interfaces"),
    ("features.*", "Optional features"),
    ("http.*", "Ports"), ("https.*", "Ports"), ("instance.*", "The installer"),
    ("internaldb.*", "The internal directory"), ("jobsScheduler.*", "Jobs"), ("jss.*", "The NSS library"),
    ("keys.*", "Key sizes of the installer"), ("log.*", "Logs"), ("logAudit.*", "Logs"), ("logError.*", "Logs"),
    ("multiroles.*", "Roles"), ("oidmap.*", "OID names"),
    ("os.*", "The installer"), ("pkicreate.*", "The installer"), ("pkiremove.*", "The installer"),
    ("pkispawn.*", "The installer"), ("preop.*", "The installer"), ("proxy.*", "Proxy ports"),
    ("registry.*", "Plug-in registry"), ("securitydomain.*", "The security domain"), ("selftests.*", "Self tests"),
    ("service.*", "The installer"), ("smtp.*", "Mail"), ("subsystem.*", "Plug-in registry"),
    ("usrgrp.*", "Users and groups"),
)  # fmt: skip

WITHOUT_EFFECT: tuple[KnownKey, ...] = (
    inert("ocsp.store.defStore.class", "There is one store class."),
    inert("ocsp.store.defStore.useCache", "The revocation index is always used."),
    inert("ocsp.store.defStore.waitOnCRLUpdate", "A CRL is durable before its acceptance is reported."),
    inert("ocsp.store.ldapStore.class", "There is one store class."),
    inert(
        "ocsp.store.ldapStore.validateConnCertWithCRL",
        "Always: a certificate of a CA that is answered for is looked up before its user is let in.",
    ),
    inert("ocsp.signing.cacertnickname", "The signer's CA is found among the registered CAs."),
    inert("ocsp.ocsp_signing.*", "Certificate and request of the installer; the signer is vouchd.signer.<nickname>."),
    inert("ocsp.audit_signing.*", "Certificate and request of the installer."),
    inert("ocsp.sslserver.*", "Certificate and request of the installer."),
    inert("ocsp.subsystem.*", "Certificate and request of the installer."),
    inert("ocsp.crlVerify.token", "CRLs are verified in software."),
    inert("ocsp.certNickname", "The signer is ocsp.signing.certnickname."),
    inert("ocsp.standalone", "An instance needs no security domain."),
    inert("ocsp.signing.nickname", "The signer is ocsp.signing.certnickname."),
    inert("ocsp.signing.cert", "The signer's certificate is vouchd.signer.<nickname>.certificate."),
    inert("ocsp.signing.certreq", "Requests are made by `vouchd certs request`."),
    inert("ocsp.cert.*", "Input of the Certificate System's self tests."),
    inert("log.instance.SignedAudit.*", "The audit log is always on, in logs/audit.jsonl."),
    inert("selftests.container.instance.*", "Class names of the Certificate System."),
    inert("selftests.container.logger.*", "The results are in the audit log and in `vouchd selftest list`."),
    inert("selftests.plugin.*", "Parameters of the Certificate System's self tests."),
    *(inert(name, f"{about} of the Certificate System.") for name, about in _FAMILIES),
    KnownKey("_<n>", ANYTHING, "", "A comment in the Certificate System's manner; # starts one.", inert=True),
    *(inert(name, "Written by the Certificate System's installer.") for name in _SINGLES),
)
