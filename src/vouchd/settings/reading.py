"""CS.cfg -> `Settings`: the declarations are filled in; what several fields need together is checked here."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import Transport
from vouchd.core.policy import ResponsePolicy
from vouchd.core.record_filter import matches
from vouchd.errors import ConfigError
from vouchd.files import read_file, replace_file
from vouchd.pkix.pem import read_bundle
from vouchd.settings import cs_cfg, ldap_store
from vouchd.settings.audit_log import AUDIT_FILTERS
from vouchd.settings.carriers import AlertWay, CarrierSettings, MailSecurity
from vouchd.settings.cs_cfg import CSConfig
from vouchd.settings.declared import (
    CLIENT_AUTH,
    DIRECTORY,
    LDAPS,
    REQUESTOR_TRUST,
    START_TLS,
    STORE,
    STORE_ID,
    DirectorySettings,
    Settings,
    SourceKind,
    SourceSettings,
)
from vouchd.settings.keys import Composed, KnownKey, declarations
from vouchd.settings.kinds import FILE
from vouchd.settings.layout import Layout
from vouchd.settings.ldap_store import LDAPStoreDirectory, LDAPStoreSettings
from vouchd.settings.signing_keys import DEFAULT_ALGORITHM, EnrolmentWay, RenewalSettings, SignerSettings

# As the Certificate System has it; until its keys and settings are there an instance has no others.
STATE, UNCONFIGURED = "cs.state", "0"
_T = TypeVar("_T")
_NO_NAMES: Mapping[str, str] = MappingProxyType({})
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


class KeptSettings:
    """The settings of an instance, read anew when CS.cfg is another file or was written: for who looks all the time.

    A requestors' trust file that they name is not looked at again while CS.cfg stays as it is. `started` are those that
    the running instance started with: they hold as long as it still says the same, and signers that are the same are
    the same objects: of ten thousand that is ten megabytes.
    """

    def __init__(self, layout: Layout, started: Settings | None = None) -> None:
        self._layout = layout
        self._started = started
        self._known: tuple[tuple[int, int, int], Settings] | None = None
        self._reading = threading.Lock()  # at a start several threads want them at one moment

    def read(self) -> Settings:
        """The settings. Raises: ConfigError."""
        with self._reading:
            return self._read()

    def _read(self) -> Settings:
        try:
            status = self._layout.cs_cfg.stat()
        except OSError:
            return read_settings(self._layout)  # which tells why
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._known is None or self._known[0] != identity:
            self._known = (identity, self._settings())
        return self._known[1]

    def _settings(self) -> Settings:
        started = self._started
        if started is None:
            return read_settings(self._layout)
        with suppress(FileNotFoundError):
            now, then = (
                read_file(path, cs_cfg.MAX_BYTES, error=ConfigError)
                for path in (self._layout.cs_cfg, self._layout.active_cs_cfg)
            )
            if now == then:
                return started
        settings = read_settings(self._layout)
        return replace(settings, signers=started.signers) if settings.signers == started.signers else settings


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
    state = config.assignments.get(STATE)
    if state is not None and state.text == UNCONFIGURED:
        raise ConfigError(f"{root}: this instance is not set up yet", hint="vouchd start opens its wizard")
    plain = _fill(Settings, config, root, root=root, store=Layout(root).database, warnings=config.warnings())
    signers = tuple(
        _signer(config, root, nickname, default=nickname == plain.default_signer)
        for nickname in config.names_under("vouchd.signer.")
    )
    sources = tuple(_source(config, root, name, plain.max_crl_bytes) for name in config.names_under("vouchd.source."))
    store = plain.ldap_store
    if _value(STORE_ID, config, root) == ldap_store.NAME:
        store = replace(store, directories=tuple(_directory_of_store(config, root, n) for n in range(store.count)))
        sources = (*sources, *_sources_of_store(store, plain.max_crl_bytes))
    responder = replace(
        _responder_of_store(plain.responder, store) if store.directories else plain.responder,
        max_request_bytes=plain.ee.max_body_bytes,
        requestor_trust=_certificates(config, REQUESTOR_TRUST, root),
    )
    return replace(
        plain,
        responder=responder,
        signers=signers,
        default_signer=_default_signer(config, plain.default_signer, signers),
        sources=sources,
        audit=replace(plain.audit, filters=_audit_filters(config)),
        ldap_store=store,
        carriers=tuple(_carrier(config, root, name) for name in config.names_under("vouchd.alert.")),
        renewals=tuple(_renewal(config, root, nickname) for nickname in config.names_under("vouchd.renewal.")),
        directory=_directory(config, root),
    )


def _fill(cls: type[_T], config: CSConfig, root: Path, names: Mapping[str, str] = _NO_NAMES, /, **others: object) -> _T:
    """A `cls` of what its fields' keys say in `config`, and of `others`; `names` stand for the placeholders of keys.

    Raises: ConfigError when a key is absent that has no default.
    """
    values = dict(others)
    for name, declared in declarations(cls):
        if name in others:
            continue
        if isinstance(declared, KnownKey):
            values[name] = _value(declared, config, root, names)
        elif isinstance(declared, Composed):
            values[name] = _compose(declared, config, root, names)
        elif declared.plain:
            values[name] = _fill(declared.cls, config, root, names)
    return cls(**values)


def _compose(
    declared: Composed, config: CSConfig, root: Path, names: Mapping[str, str] = _NO_NAMES, **others: object
) -> Any:
    """The value that several keys make; `others` are fields that a rule of its own makes."""
    values = {field: _value(known, config, root, names) for field, known in declared.keys.items()}
    return declared.cls(**(values | others))


def _value(known: KnownKey, config: CSConfig, root: Path, names: Mapping[str, str] = _NO_NAMES) -> Any:
    """What `config` says for a key, of the type that its kind reads; a file as a path below `root`, or None."""
    name = known.name
    for placeholder, text in names.items():
        name = name.replace(f"<{placeholder}>", text)
    assignment = config.assignments.get(name)
    value = known.default if assignment is None else assignment.value
    if known.required and not value:
        of = "".join(f"{name.split('.')[1]} {text} has no " for text in names.values()) or "there is no "
        raise ConfigError(f"{config.name}: {of}{name}", hint=f"add a line {name}={known.required}")
    if known.kind is FILE:
        return root / str(value) if value else None
    return value


_SERVER = next(one for _, one in declarations(DirectorySettings) if isinstance(one, Composed))


def _directory(config: CSConfig, root: Path) -> DirectorySettings | None:
    if _value(STORE, config, root) != DIRECTORY:
        return None
    ldaps, start_tls = _value(LDAPS, config, root), _value(START_TLS, config, root)
    if ldaps and start_tls:
        raise ConfigError(
            f"{config.where(START_TLS.name)}: StartTLS and secureConn exclude each other",
            hint="TLS from the first octet, or by StartTLS on the plain port: set one of them to false",
        )
    transport = Transport.TLS if ldaps else Transport.STARTTLS if start_tls else Transport.PLAIN
    server = _compose(_SERVER, config, root, transport=transport)
    directory = _fill(DirectorySettings, config, root, server=replace(server, replica_id=server.replica_id or None))
    if directory.bind == CLIENT_AUTH and transport is Transport.PLAIN:
        raise ConfigError(
            f"{config.name}: a client certificate is shown in TLS, which is off",
            hint=f"set {LDAPS.name}=true or {START_TLS.name}=true",
        )
    return directory


def _certificates(config: CSConfig, known: KnownKey, root: Path) -> tuple[bytes, ...]:
    path = _value(known, config, root)
    if path is None:
        return ()
    try:
        certificates = read_bundle(read_file(path, error=ConfigError)).certificates
    except FileNotFoundError as error:
        raise ConfigError(f"{config.where(known.name)}: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{config.where(known.name)}: {path} holds no certificate: {error}") from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _signer(config: CSConfig, root: Path, nickname: str, *, default: bool) -> SignerSettings:
    signer = _fill(SignerSettings, config, root, {"nickname": nickname}, nickname=nickname)
    if signer.algorithm or not default:
        return signer
    return replace(signer, algorithm=_value(DEFAULT_ALGORITHM, config, root))


_NEEDED_BY = {
    AlertWay.MAIL: (("host", "host"), ("to", "recipients")),
    AlertWay.WEBHOOK: (("url", "url"),),
    AlertWay.SNMP: (("host", "host"),),
    AlertWay.SYSLOG: (),
}


def _carrier(config: CSConfig, root: Path, name: str) -> CarrierSettings:
    carrier = _fill(CarrierSettings, config, root, {"name": name}, name=name)
    prefix = f"vouchd.alert.{name}"
    for line, field in _NEEDED_BY[carrier.way]:
        if not getattr(carrier, field):
            raise ConfigError(
                f"{config.name}: alerts by {carrier.way} need {prefix}.{line}", hint=f"add {prefix}.{line}=…"
            )
    if carrier.way is AlertWay.MAIL and carrier.user and carrier.security is MailSecurity.NONE:
        raise ConfigError(
            f"{config.where(f'{prefix}.user')}: a password would go over the network in clear",
            hint=f"set {prefix}.security to starttls or tls, or log in as nobody",
        )
    return carrier


_NEEDED = {
    EnrolmentWay.CA: "ca",
    EnrolmentWay.EST: "url",
    EnrolmentWay.CERTSYSTEM: "url",
    EnrolmentWay.EXEC: "command",
}


def _renewal(config: CSConfig, root: Path, nickname: str) -> RenewalSettings:
    if nickname == "admin":
        raise ConfigError(
            f"{config.where(f'vouchd.renewal.{nickname}.by')}: the administrator's certificate is a person's",
            hint="take the line out; a person asks for the next one: vouchd certs request admin",
        )
    renewal = _fill(RenewalSettings, config, root, {"nickname": nickname}, nickname=nickname)
    needed = _NEEDED.get(renewal.way)
    if needed and not getattr(renewal, needed):
        prefix = f"vouchd.renewal.{nickname}"
        raise ConfigError(
            f"{config.where(f'{prefix}.by')}: renewal by {renewal.way} needs {prefix}.{needed}",
            hint=f"add {prefix}.{needed}=…",
        )
    return renewal


def _default_signer(config: CSConfig, wanted: str, signers: tuple[SignerSettings, ...]) -> str:
    """The nickname that ocsp.signing.certnickname names; without it the only signer."""
    known = [signer.nickname for signer in signers]
    if wanted and wanted not in known:
        raise ConfigError(
            f"{config.where('ocsp.signing.certnickname')}: there is no signer {wanted}",
            hint=f"add vouchd.signer.{wanted}.key and .certificate" + (f", or name {known[0]}" if known else ""),
        )
    return wanted or (known[0] if len(known) == 1 else "")


def _audit_filters(config: CSConfig) -> dict[str, str]:
    """The filters of audit events by event. Raises: ConfigError."""
    filters = {}
    for event in config.names_under(AUDIT_FILTERS):
        key = f"{AUDIT_FILTERS}{event}"
        filters[event] = str(config.value(key))
        try:
            matches(filters[event], {})
        except ValueError as error:
            raise ConfigError(f"{config.where(key)}: {error}", hint="such as (Outcome=Failure)") from error
    return filters


def _directory_of_store(config: CSConfig, root: Path, number: int) -> LDAPStoreDirectory:
    return _fill(LDAPStoreDirectory, config, root, {"n": str(number)}, number=number)


def _sources_of_store(store: LDAPStoreSettings, max_bytes: int) -> Iterator[SourceSettings]:
    """The directories of ldapStore as the sources that they are."""
    for directory in store.directories:
        yield SourceSettings(
            name=f"{ldap_store.NAME}{directory.number}",
            kind=SourceKind.LDAP,
            url=directory.url(store.certificate_attribute, store.crl_attribute),
            interval_seconds=directory.refresh_seconds,
            max_bytes=max_bytes,
            certificate_attribute=store.certificate_attribute,
        )


def _responder_of_store(policy: ResponsePolicy, store: LDAPStoreSettings) -> ResponsePolicy:
    return replace(
        policy,
        not_found_as_good=store.not_found_as_good,
        include_next_update=store.include_next_update,
        by_name=store.by_name,
    )


def _source(config: CSConfig, root: Path, name: str, max_bytes: int) -> SourceSettings:
    source = _fill(SourceSettings, config, root, {"name": name}, name=name, kind=SourceKind.FILE, max_bytes=max_bytes)
    scheme = source.url.partition("://")[0].lower() if "://" in source.url else "file"
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{config.where(f'vouchd.source.{name}.url')}: no source can fetch {scheme}://",
            hint="use " + ", ".join(_SCHEMES),
        )
    if source.url.lower().startswith("file:") and urlsplit(source.url).netloc not in {"", "localhost"}:
        raise ConfigError(
            f"{config.where(f'vouchd.source.{name}.url')}: {source.url} is not a file of this host",
            hint="write file:///path/to/file",
        )
    return replace(source, kind=_SCHEMES[scheme])
