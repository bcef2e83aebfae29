"""`vouchd ca`: the certificate manager's verbs about CRLs: crl, publish.

One is published to an instance on this host, to a folder, or to the agent port of any responder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import CRLScope, IssuedCRL, TargetRecord
from vouchd.ca.publishing import (
    CallTarget,
    Delivery,
    FolderTarget,
    PublishingTarget,
    TargetKinds,
    parse_target,
    publish,
)
from vouchd.cli import output, serving
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption, read_password
from vouchd.cli.progress import working
from vouchd.client.publishing import CRLPublisher
from vouchd.clock import SystemClock
from vouchd.core.facts import Epoch
from vouchd.errors import (
    ConfigError,
    CRLStale,
    IssuanceError,
    RefusedForNow,
    StoreConflict,
    StoreUnavailable,
    VouchdError,
    outcome,
)
from vouchd.files import write_output
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

DeltaOption = Annotated[bool, typer.Option("--delta", help="A delta CRL instead of a full one.")]
ScopeOption = Annotated[
    CRLScope, typer.Option("--scope", help="Which certificates: all, or by issuing distribution point users' or CAs'.")
]


def crl(
    ca: CADirOption = DEFAULT_CA,
    delta: DeltaOption = False,
    scope: ScopeOption = CRLScope.COMPLETE,
    current: Annotated[bool, typer.Option("--current", help="The newest that was made; make none.")] = False,
    history: Annotated[bool, typer.Option("--list", help="List all CRLs ever made; make none.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there, replacing the file.")
    ] = None,
    pem: Annotated[bool, typer.Option("--pem", help="Write PEM instead of DER.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make a CRL with the next number, and write it to a file.

    Example: vouchd ca crl --out ca.crl; vouchd ca crl --delta --out ca-delta.crl
    """
    with CertificateManager(ca) as manager:
        if history:
            rows = [_crl_fields(made) for made in manager.store.crls()]
            output.records(rows, json_output=json_output, empty="no CRL was made yet")
            return
        with working("make the CRL", shown=not json_output):
            made = _made(manager, delta, scope, current)
    if out is not None:
        write_output(out, _pem(made.der) if pem else made.der)
    output.record(_crl_fields(made) | ({"file": str(out)} if out else {}), json_output=json_output)


def publish_(
    ca: CADirOption = DEFAULT_CA,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="instance:DIR, dir:PATH or ocsp:URL,cert=FILE, remembered from then on; repeatable.",
        ),
    ] = None,
    delta: DeltaOption = False,
    scope: ScopeOption = CRLScope.COMPLETE,
    current: Annotated[bool, typer.Option("--current", help="Send the newest that was made; make none.")] = False,
    forget: Annotated[
        list[str] | None, typer.Option("--forget", metavar="TARGET", help="Publish there no more; repeatable.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the targets and how the last delivery went.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make a CRL and send it to responders and web folders: those named now and all named before.

    Example: vouchd ca publish --to instance:./vouchd --to dir:/srv/www/crl
    """
    with CertificateManager(ca) as manager:
        for specification in forget or []:
            manager.store.remove_target(absolute(specification))
        if show or forget:
            output.records(
                [_target_fields(target) for target in manager.store.targets()],
                json_output=json_output,
                empty="nothing is published anywhere yet",
            )
            return
        targets = all_targets(manager, to or [])
        with working("make the CRL and publish it", shown=not json_output):
            deliveries, exit_code = publish_to(manager, _made(manager, delta, scope, current), targets)
    output.records(deliveries, json_output=json_output)
    raise typer.Exit(exit_code)


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    app.command()(crl)
    app.command("publish")(publish_)


def publish_to(
    manager: CertificateManager, made: IssuedCRL, targets: Iterable[PublishingTarget]
) -> tuple[list[dict[str, object]], int]:
    """Send one CRL to `targets`; what is shown of each delivery, and the exit code.

    It is that of the first failure that does not pass by itself, else of the first one, else 0.
    """
    deliveries = publish(manager, made, targets, SystemClock().now())
    failures = [delivery.failure for delivery in deliveries if delivery.failure]
    for hint in dict.fromkeys(failure.hint for failure in failures):
        output.hint(hint)
    failures.sort(key=_passes)
    return [_delivery_fields(delivery) for delivery in deliveries], outcome(failures[0]).exit_code if failures else 0


def _passes(failure: VouchdError) -> bool:
    """Whether the same CRL may be taken a moment later."""
    return isinstance(failure, RefusedForNow | StoreUnavailable | StoreConflict)


def all_targets(manager: CertificateManager, named: Iterable[str] = ()) -> list[PublishingTarget]:
    """Targets named before and now. Raises: IssuanceError when there is none."""
    before = [target.specification for target in manager.store.targets()]
    targets = [parse_target(text, TARGET_KINDS) for text in dict.fromkeys([*before, *map(absolute, named)])]
    if not targets:
        raise IssuanceError("no target to publish to", hint="name one with `vouchd ca publish --to instance:DIR`")
    return targets


def _made(manager: CertificateManager, delta: bool, scope: CRLScope, current: bool) -> IssuedCRL:
    if current:
        return manager.current_crl(delta=delta, scope=scope)
    return manager.make_crl(SystemClock().now(), delta=delta, scope=scope)


def _crl_fields(made: IssuedCRL) -> dict[str, object]:
    return {
        "number": made.number,
        "base_number": made.base_number,
        "scope": made.scope.value,
        "entries": made.entry_count,
        "this_update": output.when(made.this_update),
        "next_update": output.when(made.next_update),
        "size_bytes": len(made.der) or None,
    }


def _target_fields(target: TargetRecord) -> dict[str, object]:
    return {
        "target": target.specification,
        "last_crl": target.number,
        "delivered_at": output.when(target.delivered_at),
        "failure": target.failure,
    }


def _delivery_fields(delivery: Delivery) -> dict[str, object]:
    return {
        "target": delivery.specification,
        "crl": delivery.number,
        "delivered": delivery.failure is None,
        "retry": delivery.failure is not None and _passes(delivery.failure),
        "detail": delivery.detail if delivery.failure is None else str(delivery.failure),
    }


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)


_ORIGIN = "certificate manager"
_PORT_FILES = ("cert", "key", "trust", "password")
_PORT_HINT = "as in ocsp:https://ocsp.example.org:8443,cert=FILE,key=FILE,trust=FILE,password=FILE"


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
    files = {name: file for name, _, file in (one.partition("=") for one in options) if name in _PORT_FILES and file}
    if len(files) != len(options) or "cert" not in files:
        raise ConfigError(
            f"publishing target {place[:80]!r}: its client certificate is named with cert=", hint=_PORT_HINT
        )
    return url, files


def _port_target(place: str) -> PublishingTarget:
    def deliver(crl_der: bytes) -> str:
        url, files = _port_and_files(place)
        cert, key, trust, password = (Path(files[name]) if name in files else None for name in _PORT_FILES)
        if cert is None:  # pragma: no cover  `_port_and_files` refuses it
            raise AssertionError(place)
        first_line = (lambda: read_password(password, key or cert)) if password else str
        try:
            served = CRLPublisher(url, cert, key, trust, first_line).publish(crl_der)
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
            epochs = services.ingesting.accept_crl(crl_der, _ORIGIN, services.caller, SystemClock().now())
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
