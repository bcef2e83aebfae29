"""Where `vouchd ca publish` takes a CRL: an instance on this host, a folder, or the agent port of any responder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from vouchd.ca.publishing import CallTarget, FolderTarget, PublishingTarget, TargetKinds
from vouchd.cli import serving
from vouchd.client.publishing import CRLPublisher
from vouchd.clock import SystemClock
from vouchd.core.facts import Epoch
from vouchd.errors import ConfigError, CRLStale
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

ORIGIN = "certificate manager"
_FILES = ("cert", "key", "trust")
_HINT = "as in ocsp:https://ocsp.example.org:8443,cert=FILE,key=FILE,trust=FILE"


def absolute(specification: str) -> str:
    """The target with absolute paths: a remembered one must mean the same files from wherever it is used next."""
    kind, separator, place = specification.partition(":")
    if not separator or not place:
        return specification
    if kind != "ocsp":
        return f"{kind}:{_absolute(place)}"
    url, files = _port_and_files(place)
    return ",".join([f"ocsp:{url}", *(f"{name}={_absolute(file)}" for name, file in files.items())])


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _port_and_files(place: str) -> tuple[str, dict[str, str]]:
    """The URL and the named files of `URL,cert=FILE,...`. Raises: ConfigError."""
    url, *options = place.split(",")
    files = {name: file for name, _, file in (one.partition("=") for one in options) if name in _FILES and file}
    if len(files) != len(options) or "cert" not in files:
        raise ConfigError(f"publishing target {place[:80]!r}: its client certificate is named with cert=", hint=_HINT)
    return url, files


def _port_target(place: str) -> PublishingTarget:
    def deliver(crl_der: bytes) -> str:
        url, files = _port_and_files(place)
        key, trust = (Path(files[name]) if name in files else None for name in ("key", "trust"))
        try:
            served = CRLPublisher(url, Path(files["cert"]), key, trust).publish(crl_der)
        except CRLStale as error:
            if "held already" in str(error):
                return "held already"
            raise
        return "taken" if served else "taken, not answered from yet"

    return CallTarget(f"ocsp:{place}", deliver)


def _instance_target(place: str) -> PublishingTarget:
    return CallTarget(f"instance:{place}", lambda der: _ingest(Path(place), der))


def _ingest(instance: Path, crl_der: bytes) -> str:
    """Hand a CRL to an instance on this host, running or not; says how far it got."""
    layout = Layout(instance)
    with wiring.services(layout) as services, services.ingest_lock():
        try:
            epochs = services.ingesting.accept_crl(crl_der, ORIGIN, services.caller, SystemClock().now())
        except CRLStale:
            if not _holds(services.store.epochs(), crl_der):
                raise
            return "held already"
    return "served" if serving.changed(layout, epochs) else "stored"


def _holds(epochs: Iterable[Epoch], crl_der: bytes) -> bool:
    sha256 = hashlib.sha256(crl_der).hexdigest()
    return any(record is not None and record.sha256 == sha256 for e in epochs for record in (e.base, e.delta))


TARGET_KINDS: TargetKinds = {
    "dir": lambda place: FolderTarget(Path(place)),
    "instance": _instance_target,
    "ocsp": _port_target,
}
