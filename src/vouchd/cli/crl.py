"""`vouchd crl`: the CRLs that an instance answers from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import crlshow, output, quarantine, remote, serving, told
from vouchd.cli.ca.authorities import ReferenceArgument
from vouchd.cli.options import DEFAULT_INSTANCE, STDIN, InstanceOption, JsonOption, ScopeOption, read_input
from vouchd.cli.serving import WaitOption
from vouchd.client.admin import AdminClient
from vouchd.clock import SystemClock
from vouchd.core.facts import Epoch
from vouchd.errors import CRLRejected, PermissionDenied, VouchdError, outcome
from vouchd.files import write_new
from vouchd.index.steps_back import add_steps_back
from vouchd.instance.lifecycle import look_now
from vouchd.pkix import pem
from vouchd.pkix.crl import MAX_CRL_BYTES
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.admitting import StepBack
from vouchd.service.stepping_back import step_back
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring
from vouchd.wiring.instance import Services

app = typer.Typer(name="crl", no_args_is_help=True, help="The CRLs that an instance answers from.")
app.add_typer(quarantine.app, name="quarantine")


@app.command("step-back")
def step_back_(
    reference: ReferenceArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why the older CRL is right; for the audit log.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
) -> None:
    """Serve the older CRL that the store has in place of the newer one that is served.

    A member never goes back by itself: a store may be an old backup. This word counts on this member and for this step.

    Example: vouchd crl step-back "Example Root" --reason "CRL 9 was a mistake of the CA"
    """
    layout = Layout(instance.absolute())
    with wiring.services(layout) as services:
        stored, admitting = services.epoch(reference, scope), services.indexing.admitting
        served = admitting.served.epochs if admitting else ()
        rights, log = services.permission, services.audit
        former = step_back(stored, served, _word_at(layout), rights, log, services.caller, reason)
    look_now(layout)
    output.note(f"CRL {stored.newest.crl_number} is served in place of CRL {former.newest.crl_number}")


def _word_at(layout: Layout) -> Callable[[StepBack], None]:
    """Where words of operators are kept."""
    return lambda word: add_steps_back(layout.index, (word,))


@app.command()
@remote.reachable
def add(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="CRLs, DER or PEM, full or delta; - is stdin.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    wait: WaitOption = True,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Take CRLs in, and wait until a running instance answers from them.

    Every file is tried; the exit code is that of the first failure.

    Example: vouchd crl add root.crl
    """
    if asked:
        rows, failures = _added_there(asked, files)
    else:
        rows, failures = _added_here(Layout(instance.absolute()), files, wait=wait)
    output.records(rows, json_output=json_output)
    if failures:
        raise typer.Exit(outcome(failures[0]).exit_code)


def _added_here(layout: Layout, files: list[str], *, wait: bool) -> tuple[list[dict[str, object]], list[VouchdError]]:
    taken: list[Epoch] = []
    with wiring.services(layout) as services:
        failures = _each(files, lambda name: taken.extend(_accept(services, name)))
        labels = services.labels()
    served = serving.changed(layout, taken, wait=wait) if taken else False
    return [{**crlshow.epoch_row(epoch, labels), "served": served} for epoch in taken], failures


def _added_there(asked: AdminClient, files: list[str]) -> tuple[list[dict[str, object]], list[VouchdError]]:
    rows: list[dict[str, object]] = []
    labels = _labels_there(asked)

    def send(name: str) -> None:
        for crl in _crls(read_input(name, MAX_CRL_BYTES)):
            rows.extend(told.taken_rows(asked.upload("crls", data=crl, media_type=told.PKIX_CRL), labels))

    return rows, _each(files, send)


def _labels_there(asked: AdminClient) -> dict[str, str]:
    """The CAs' labels, none for a publisher, who may not list them."""
    try:
        return told.labels(asked)
    except PermissionDenied:
        return {}


def _each(files: list[str], act: Callable[[str], object]) -> list[VouchdError]:
    """Do `act` for every file; what failed, said already."""
    failures: list[VouchdError] = []
    for name in files:
        try:
            act(name)
        except VouchdError as error:
            failures.append(error)
            output.fail(type(error)(f"{name}: {error}", hint=error.hint))
    return failures


def _accept(services: Services, name: str) -> list[Epoch]:
    data = read_input(name, services.settings.max_crl_bytes)
    origin = "stdin" if name == STDIN else str(Path(name).absolute())
    return [epoch for crl in _crls(data) for epoch in serving.take(services, crl, origin)]


def _crls(data: bytes) -> Iterator[bytes]:
    """The CRLs in a PEM file, which may hold several; anything else as it is."""
    if b"-----BEGIN" not in data[:65536]:
        yield data
        return
    try:
        found = list(pem.blocks(data, pem.CRL_LABELS))
    except ValueError as error:
        raise CRLRejected(str(error)) from error
    if not found:
        raise CRLRejected("holds no CRL", hint="openssl crl -in FILE -noout -text reads one")
    yield from found


@app.command("list")
@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """List the CRLs in use, one line for each CRL issuing point.

    Example: vouchd crl list --json
    """
    if asked:
        labels = told.labels(asked)
        rows = [told.point_row(point, labels) for point in asked.get("issuing-points")]
    else:
        at = SystemClock().now()
        with wiring.services(Layout(instance.absolute())) as services:
            labels = services.labels()
            rows = [crlshow.epoch_row(epoch, labels, at) for epoch in services.store.epochs()]
    output.records(rows, json_output=json_output, empty="no CRL yet; add one with `vouchd crl add FILE`")


@app.command()
@remote.reachable
def show(
    what: Annotated[str, typer.Argument(metavar="CA|FILE", help="A CA whose CRL is in use, or a CRL in a file.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    scope: ScopeOption = COMPLETE_SCOPE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write its DER into a new file.")
    ] = None,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Show a CRL in use, or one in a file that is not taken in yet.

    Example: vouchd crl show "Example Root" --out root.crl
    """
    if asked:
        point = asked.get("authorities", what, "issuing-points", scope)
        if out is not None:
            write_new(out, asked.download("authorities", what, "issuing-points", scope, "crl"), 0o644)
        output.record(told.point_fields(point, told.labels(asked)), json_output=json_output)
        return
    if Path(what).is_file() and out is None:
        with_crl = [crlshow.file_fields(crl) for crl in _crls(read_input(what, crlshow.MAX_BYTES))]
        for found in with_crl:
            output.record(found, json_output=json_output)
        return
    with wiring.services(Layout(instance.absolute())) as services:
        epoch = services.epoch(what, scope)
        fields = crlshow.epoch_fields(epoch, services.labels(), SystemClock().now())
        if out is not None:
            write_new(out, services.store.document(epoch.newest.sha256), 0o644)
    output.record(fields, json_output=json_output)
