"""CS.cfg -> `Settings`: names become fields, relative paths absolute; what the fields need together is checked here."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.core.policy import ResponsePolicy
from vouchd.errors import ConfigError
from vouchd.files import read_file, replace_file
from vouchd.settings import cs_cfg
from vouchd.settings.cs_cfg import CSConfig
from vouchd.settings.declared import (
    DIRECTORY,
    AgentPort,
    AuditSettings,
    DirectorySettings,
    EEPort,
    HealthPort,
    KeyFiles,
    SelfTestSettings,
    SetSettings,
    Settings,
    SignerSettings,
    SourceKind,
    SourceSettings,
)
from vouchd.settings.layout import Layout

_T = TypeVar("_T")
_SCHEMES = {
    "http": SourceKind.HTTP,
    "https": SourceKind.HTTP,
    "file": SourceKind.FILE,
    "ldap": SourceKind.LDAP,
    "ldaps": SourceKind.LDAP,
}


def read_settings(layout: Layout) -> Settings:
    """The settings of the instance at `layout`. Raises: ConfigError."""
    return settings_from(cs_cfg.read(layout.cs_cfg), layout.root)


def write_active(layout: Layout, config: CSConfig) -> None:
    """Keep the settings that the instance starts with, for its workers, whatever becomes of CS.cfg meanwhile."""
    replace_file(layout.active_cs_cfg, config.render().encode())


def active_settings(layout: Layout) -> Settings:
    """The settings that the running instance started with. Raises: ConfigError."""
    return settings_from(cs_cfg.read(layout.active_cs_cfg), layout.root)


def settings_from(config: CSConfig, root: Path) -> Settings:
    """The settings in `config`; relative paths start at `root`. Reads the requestors' trust file only.

    Raises: ConfigError.
    """
    root = root.absolute()
    signers = _signers(config, root)
    return Settings(
        root=root,
        responder=_responder(config, root),
        agent=_agent(config, root),
        subsystem=_key_files(config, root, "vouchd.subsystem"),
        audit_signing=_key_files(config, root, "vouchd.auditSigning"),
        audit=_audit(config),
        selftests=_selftests(config),
        admin=_key_files(config, root, "vouchd.admin"),
        ee=_ee(config),
        health=HealthPort(_value(config, "vouchd.health.host", str), _value(config, "vouchd.health.port", int)),
        max_crl_bytes=_value(config, "vouchd.crl.maxBytes", int),
        signers=signers,
        default_signer=_default_signer(config, signers),
        sources=tuple(_source(config, root, name) for name in config.names_under("vouchd.source.")),
        refresh_seconds=_value(config, "ocsp.store.defStore.refreshInSec", int),
        store=Layout(root).database,
        directory=_directory(config, root),
        of_set=_set(config),
        warnings=config.warnings(),
    )


def _value(config: CSConfig, key: str, kind: type[_T]) -> _T:
    """The value of `key`, which the table of known keys makes a `kind`."""
    value = config.value(key)
    if not isinstance(value, kind):
        raise TypeError(f"{key} is declared as another type than {kind.__name__}")
    return value


def _directory(config: CSConfig, root: Path) -> DirectorySettings | None:
    if _value(config, "vouchd.store", str) != DIRECTORY:
        return None
    for key in ("internaldb.ldapconn.host", "internaldb.basedn"):
        if not _value(config, key, str):
            raise ConfigError(f"{config.name}: vouchd.store=directory needs {key}", hint=f"add a line {key}=…")
    secure = _value(config, "internaldb.ldapconn.secureConn", bool)
    if secure and _value(config, "vouchd.directory.startTLS", bool):
        raise ConfigError(
            f"{config.where('vouchd.directory.startTLS')}: StartTLS and secureConn exclude each other",
            hint="TLS from the first octet, or by StartTLS on the plain port: set one of them to false",
        )
    plain = Transport.STARTTLS if _value(config, "vouchd.directory.startTLS", bool) else Transport.PLAIN
    server = DirectoryServer(
        host=_value(config, "internaldb.ldapconn.host", str),
        port=_value(config, "internaldb.ldapconn.port", int),
        transport=Transport.TLS if secure else plain,
        suffix=_value(config, "internaldb.basedn", str),
        replica_id=_value(config, "vouchd.directory.replicaId", int) or None,
    )
    bind_dn = _value(config, "internaldb.ldapauth.bindDN", str)
    return DirectorySettings(server, bind_dn, _path(config, root, "vouchd.directory.trust"))


def _set(config: CSConfig) -> SetSettings:
    return SetSettings(
        domain=_value(config, "securitydomain.name", str),
        host=_value(config, "vouchd.domain.host", str),
        master=_value(config, "vouchd.clone.master", str),
        stale_seconds=_value(config, "vouchd.clone.staleInSec", int),
        peers_seconds=_value(config, "vouchd.clone.peersInSec", int),
        verify_seconds=_value(config, "vouchd.clone.verifyInSec", int),
    )


def _path(config: CSConfig, root: Path, key: str) -> Path | None:
    text = _value(config, key, str)
    return root / text if text else None


def _responder(config: CSConfig, root: Path) -> ResponsePolicy:
    defaults = ResponsePolicy()
    return ResponsePolicy(
        nonce=_value(config, "vouchd.request.nonce", type(defaults.nonce)),
        signature=_value(config, "vouchd.request.signature", type(defaults.signature)),
        requestor_trust=_trust(config, root, "vouchd.request.trust"),
        max_cert_ids=_value(config, "vouchd.request.maxCertIDs", int),
        max_request_bytes=_value(config, "vouchd.ee.maxBodyBytes", int),
        reject_algorithms=_value(config, "ocsp.rejectAlgorithms", frozenset),
        by_name=_value(config, "ocsp.store.defStore.byName", bool),
        unknown_issuer=_value(config, "vouchd.response.unknownIssuer", type(defaults.unknown_issuer)),
        not_found_as_good=_value(config, "ocsp.store.defStore.notFoundAsGood", bool),
        include_next_update=_value(config, "ocsp.store.defStore.includeNextUpdate", bool),
        expired_crl=_value(config, "vouchd.response.expiredCRL", type(defaults.expired_crl)),
    )


def _trust(config: CSConfig, root: Path, key: str) -> tuple[bytes, ...]:
    path = _path(config, root, key)
    if path is None:
        return ()
    try:
        certificates = x509.load_pem_x509_certificates(read_file(path, error=ConfigError))
    except FileNotFoundError as error:
        raise ConfigError(f"{config.where(key)}: {path} cannot be read: {error.strerror}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError(f"{config.where(key)}: {path} holds no PEM certificate") from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _ee(config: CSConfig) -> EEPort:
    return EEPort(
        host=_value(config, "vouchd.ee.host", str),
        port=_value(config, "vouchd.ee.port", int),
        workers=_value(config, "vouchd.ee.workers", int),
        max_header_bytes=_value(config, "vouchd.ee.maxHeaderBytes", int),
        max_body_bytes=_value(config, "vouchd.ee.maxBodyBytes", int),
        idle_seconds=_value(config, "vouchd.ee.idleInSec", int),
        header_seconds=_value(config, "vouchd.ee.headerInSec", int),
        max_connections=_value(config, "vouchd.ee.maxConnections", int),
        max_in_flight=_value(config, "vouchd.ee.maxInFlight", int),
        cache_entries=_value(config, "vouchd.ee.cacheEntries", int),
    )


def _agent(config: CSConfig, root: Path) -> AgentPort:
    return AgentPort(
        tls=_key_files(config, root, "vouchd.agent"),
        host=_value(config, "vouchd.agent.host", str),
        port=_value(config, "vouchd.agent.port", int),
        trust_file=_path(config, root, "vouchd.agent.trust"),
        max_header_bytes=_value(config, "vouchd.agent.maxHeaderBytes", int),
        max_body_bytes=_value(config, "vouchd.agent.maxBodyBytes", int),
        idle_seconds=_value(config, "vouchd.agent.idleInSec", int),
        header_seconds=_value(config, "vouchd.agent.headerInSec", int),
        body_seconds=_value(config, "vouchd.agent.bodyInSec", int),
        max_connections=_value(config, "vouchd.agent.maxConnections", int),
    )


def _audit(config: CSConfig) -> AuditSettings:
    defaults = AuditSettings()
    return AuditSettings(
        max_bytes=_value(config, "log.instance.SignedAudit.maxFileSize", int) << 10,
        max_age_seconds=_value(config, "log.instance.SignedAudit.rolloverInterval", int),
        expires_seconds=_value(config, "log.instance.SignedAudit.expirationTime", int),
        sign=_value(config, "log.instance.SignedAudit.logSigning", bool),
        flush_seconds=_value(config, "log.instance.SignedAudit.flushInterval", int),
        answers=_value(config, "vouchd.audit.answers", type(defaults.answers)),
        sample=_value(config, "vouchd.audit.sample", int),
        client_address=_value(config, "vouchd.audit.clientAddress", type(defaults.client_address)),
    )


def _selftests(config: CSConfig) -> SelfTestSettings:
    return SelfTestSettings(
        startup=_value(config, "selftests.container.order.startup", tuple),
        on_demand=_value(config, "selftests.container.order.onDemand", tuple),
        min_free_bytes=_value(config, "selftests.plugin.DiskSpace.minFreeBytes", int),
        tolerance_seconds=_value(config, "selftests.plugin.ClockVerification.toleranceInSec", int),
    )


def _key_files(config: CSConfig, root: Path, prefix: str) -> KeyFiles:
    return KeyFiles(root / _value(config, f"{prefix}.key", str), root / _value(config, f"{prefix}.certificate", str))


def _signers(config: CSConfig, root: Path) -> tuple[SignerSettings, ...]:
    return tuple(_signer(config, root, nickname) for nickname in config.names_under("vouchd.signer."))


def _signer(config: CSConfig, root: Path, nickname: str) -> SignerSettings:
    prefix = f"vouchd.signer.{nickname}"
    key_file = _path(config, root, f"{prefix}.key")
    certificate_file = _path(config, root, f"{prefix}.certificate")
    if key_file is None or certificate_file is None:
        missing = f"{prefix}.key" if key_file is None else f"{prefix}.certificate"
        raise ConfigError(f"{config.name}: signer {nickname} has no {missing}", hint=f"add a line {missing}=FILE")
    algorithm = _value(config, f"{prefix}.algorithm", str)
    if not algorithm and config.value("ocsp.signing.certnickname") == nickname:
        algorithm = _value(config, "ocsp.signing.defaultSigningAlgorithm", str)
    return SignerSettings(nickname, key_file, certificate_file, _path(config, root, f"{prefix}.chain"), algorithm)


def _default_signer(config: CSConfig, signers: tuple[SignerSettings, ...]) -> str:
    """The nickname that ocsp.signing.certnickname names; without it the only signer."""
    wanted = _value(config, "ocsp.signing.certnickname", str)
    known = [signer.nickname for signer in signers]
    if wanted and wanted not in known:
        raise ConfigError(
            f"{config.where('ocsp.signing.certnickname')}: there is no signer {wanted}",
            hint=f"add vouchd.signer.{wanted}.key and .certificate" + (f", or name {known[0]}" if known else ""),
        )
    return wanted or (known[0] if len(known) == 1 else "")


def _source(config: CSConfig, root: Path, name: str) -> SourceSettings:
    prefix = f"vouchd.source.{name}"
    url = _value(config, f"{prefix}.url", str)
    if not url:
        raise ConfigError(f"{config.name}: source {name} has no {prefix}.url", hint=f"add a line {prefix}.url=URL")
    scheme = url.partition("://")[0].lower() if "://" in url else "file"
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{config.where(f'{prefix}.url')}: no source can fetch {scheme}://", hint="use " + ", ".join(_SCHEMES)
        )
    return SourceSettings(
        name=name,
        kind=_SCHEMES[scheme],
        url=url,
        interval_seconds=_value(config, f"{prefix}.intervalInSec", int),
        timeout_seconds=_value(config, f"{prefix}.timeoutInSec", int),
        max_bytes=_value(config, "vouchd.crl.maxBytes", int),
        trust_file=_path(config, root, f"{prefix}.trust"),
        bind_dn=_value(config, f"{prefix}.bindDN", str),
    )
