"""`vouchd ca`: the certificate manager's verbs about CRLs: crl, publish."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import CRLScope, IssuedCRL, TargetRecord
from vouchd.ca.publishing import (
    Delivery,
    PublishingTarget,
    parse_target,
    publish,
)
from vouchd.cli import output
from vouchd.cli.ca.targets import TARGET_KINDS, absolute
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption
from vouchd.cli.progress import working
from vouchd.clock import SystemClock
from vouchd.errors import IssuanceError, RefusedForNow, StoreConflict, StoreUnavailable, VouchdError, outcome
from vouchd.files import write_output

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
