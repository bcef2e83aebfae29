"""`vouchd certs`: the instance's own certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from vouchd.ca.requests import parse_name, parse_subject
from vouchd.cli import certsthere, output, remote
from vouchd.cli.certsthere import Placed
from vouchd.cli.options import DEFAULT_CA, DEFAULT_INSTANCE, CADirOption, InstanceOption, JsonOption, read_input
from vouchd.clock import SystemClock
from vouchd.errors import NotFound
from vouchd.instance import lifecycle
from vouchd.instance.certificates.issuing import certify
from vouchd.instance.certificates.places import SystemCertificate, pending_requests
from vouchd.instance.certificates.service import Installed
from vouchd.instance.lifecycle import manager_command
from vouchd.pkix.certs import not_after
from vouchd.pkix.pem import MAX_BUNDLE_BYTES
from vouchd.pkix.purposes import Purpose, expiry_warning
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring
from vouchd.wiring.instance import Services

app = typer.Typer(
    name="certs",
    no_args_is_help=True,
    help="The instance's own certificates: OCSP signing, TLS server, subsystem, audit signing, administrator.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name that `vouchd certs list` shows.")]
Due = TypeVar("Due", SystemCertificate, Placed)
RestartOption = Annotated[bool, typer.Option("--restart/--no-restart", help="Have a running instance take it on.")]


@app.command("list")
@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE, asked: remote.Asked = None, json_output: JsonOption = False
) -> None:
    """List the certificates with their expiry, and the requests that wait for one.

    Example: vouchd certs list --json
    """
    if asked:
        found = certsthere.placed_certificates(asked)
    else:
        layout = Layout(instance.absolute())
        with wiring.services(layout) as services:
            found = [_placed(one, layout) for one in services.certificates.certificates(services.caller)]
    at = SystemClock().now()
    output.records([_row(one, at) for one in found], json_output=json_output)


def _placed(one: SystemCertificate, layout: Layout) -> Placed:
    requests = tuple(path.name for path in pending_requests(layout.alias, one.name))
    return Placed(one.name, one.purpose, one.problem, one.certificate, requests)


def _row(one: Placed, at: int) -> dict[str, object]:
    certificate = one.certificate
    return {
        "name": one.name,
        "purpose": one.purpose.value,
        "state": _state(one, at),
        "not_after": output.when(not_after(certificate)) if certificate else None,
        "subject": certificate.subject.rfc4514_string() if certificate else None,
        "serial": f"{certificate.serial_number:x}" if certificate else None,
        "requests": ", ".join(one.requests) or None,
    }


def _state(one: Placed, at: int) -> str:
    if one.certificate is None:
        return one.problem or "not come yet"
    return expiry_warning(one.certificate, at) or "valid"


@app.command()
@remote.reachable
def request(
    name: NameArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    subject: Annotated[
        str, typer.Option("--subject", metavar="NAME", help="As in RFC 4514; default: the present one's.")
    ] = "",
    alternative: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="DNS:, IP:, email: or URI: name; repeatable.")
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="Of the new key, such as SHA256withRSA; default: as now.")
    ] = "",
    same_key: Annotated[bool, typer.Option("--same-key", help="For the present key instead of a new one.")] = False,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Make a key and a request (CSR) that any CA can certify; nothing changes until `vouchd certs install`.

    Example: vouchd certs request sslserver --name DNS:ocsp.example.org
    """
    if asked:
        made = certsthere.request(asked, name, subject, alternative or (), algorithm, same_key=same_key)
        where, text = made["name"], made["pem"]
    else:
        with wiring.services(Layout(instance.absolute())) as services:
            path = services.certificates.request(
                name,
                services.caller,
                subject=parse_subject(subject) if subject else None,
                names=[parse_name(text) for text in alternative or ()],
                algorithm=algorithm,
                same_key=same_key,
            )
        where, text = str(path), path.read_text(encoding="ascii")
    output.record({"certificate": name, "request": where}, json_output=json_output)
    if not json_output:
        output.say(text.rstrip("\n"))
    output.hint(f"have it certified, then: vouchd certs install {name} FILE")


@app.command()
@remote.reachable
def install(
    name: NameArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The certificate, or - for standard input.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    chain: Annotated[
        str, typer.Option("--chain", metavar="FILE", help="The CAs above it, where FILE does not hold them.")
    ] = "",
    trial: Annotated[bool, typer.Option("--dry-run", help="Try the certificate out and change nothing.")] = False,
    restart: RestartOption = True,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Take in a certificate that a CA issued: it is tried out, then switched to.

    Example: vouchd certs install sslserver sslserver.pem --chain ca.pem
    """
    layout = Layout(instance.absolute())
    certificate = bytes(read_input(file, MAX_BUNDLE_BYTES))
    above = bytes(read_input(chain, MAX_BUNDLE_BYTES)) if chain else b""
    if asked:
        taken = certsthere.install(asked, name, certificate, above, trial=trial)
        certsthere.show_installed(asked, [taken], restart=restart, trial=trial, json_output=json_output)
        return
    with wiring.services(layout) as services:
        done = services.certificates.install(name, certificate, services.caller, chain=above, trial=trial)
    taken_on(layout, [done], restart=restart, trial=trial, json_output=json_output)


@app.command()
@remote.reachable
def renew(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: those that are missing or expire soon.")
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    ca: CADirOption = DEFAULT_CA,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Validity; default: the profile's.")] = None,
    same_key: Annotated[bool, typer.Option("--same-key", help="Keep the present key instead of a new one.")] = False,
    restart: RestartOption = True,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Have our own CA certify anew, and take the certificates in. For another CA: `vouchd certs request`.

    Example: vouchd certs renew --ca ./ca
    """
    layout = Layout(instance.absolute())
    if asked:
        due = _due({one.name: one for one in certsthere.placed_certificates(asked)}, names or ())
        renewed = [certsthere.renew(asked, one, lambda a, b: certify(ca, a, b, days), same_key=same_key) for one in due]
        certsthere.show_installed(asked, renewed, restart=restart, trial=False, json_output=json_output)
        return
    with wiring.services(layout) as services:
        known = {one.name: one for one in services.certificates.certificates(services.caller)}
        done = [_renew(services, one, ca, days, same_key=same_key) for one in _due(known, names or ())]
    if not done:
        output.note("no certificate expires soon; name those to renew all the same")
    taken_on(layout, done, restart=restart, trial=False, json_output=json_output)


def _due(found: Mapping[str, Due], names: Iterable[str]) -> list[Due]:
    """Those of these names, else those that are missing or expire soon. Raises: NotFound."""
    at = SystemClock().now()
    missing = [name for name in names if name not in found]
    if missing:
        raise NotFound(f"no system certificate {missing[0]!r}", hint="one of " + ", ".join(found))
    chosen = [found[name] for name in names]
    return chosen or [one for one in found.values() if one.certificate is None or expiry_warning(one.certificate, at)]


def _renew(services: Services, one: SystemCertificate, ca: Path, days: int | None, *, same_key: bool) -> Installed:
    path = services.certificates.request(one.name, services.caller, same_key=same_key)
    return services.certificates.install(one.name, certify(ca, one.purpose, path.read_bytes(), days), services.caller)


def taken_on(layout: Layout, done: list[Installed], *, restart: bool, trial: bool, json_output: bool) -> None:
    """Show what was installed, and have a running instance take it on."""
    for one in done:
        for warning in one.warnings:
            output.warn(f"{one.certificate.name}: {warning}")
    switched = any(one.switched for one in done)
    running = switched and lifecycle.status(layout).pid is not None
    if running and restart:
        wiring.check_instance(layout, warn=output.warn)
        lifecycle.restart(layout, manager_command(layout))
    state = "tried out" if trial else "in use" if running and restart else "installed"
    rows = [_installed_row(one, layout, state) for one in done]
    output.records(rows, json_output=json_output)
    if running and not restart:
        output.hint("take it on with `vouchd restart`")


def _installed_row(one: Installed, layout: Layout, state: str) -> dict[str, object]:
    placed = one.certificate
    certificate = placed.certificate
    row: dict[str, object] = {
        "name": placed.name,
        "state": state,
        "not_after": output.when(not_after(certificate)) if certificate else None,
        "certificate": str(placed.files.certificate_file),
    }
    if placed.purpose is Purpose.ADMINISTRATOR:
        row |= {"browser": str(layout.admin_pkcs12), "password": str(layout.admin_password)}
    return row
