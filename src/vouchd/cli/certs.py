"""`vouchd certs`: the instance's own certificates."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.api.instance import STARTING, STOPPED
from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.lifecycle import restarted
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption, read_input
from vouchd.errors import NotFound
from vouchd.instance.certificates.issuing import certify
from vouchd.pkix.pem import MAX_BUNDLE_BYTES
from vouchd.pkix.purposes import Purpose

app = typer.Typer(
    name="certs",
    no_args_is_help=True,
    help="The instance's own certificates: OCSP signing, TLS server, subsystem, audit signing, administrator.",
)

Shape = Mapping[str, Any]  # as the operations give it
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name that `vouchd certs list` shows.")]
RestartOption = Annotated[bool, typer.Option("--restart/--no-restart", help="Have a running instance take it on.")]


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the certificates with their expiry, and the requests that wait for one.

    Example: vouchd certs list --json
    """
    output.records([_row(one) for one in instance.call("certificates.list")], json_output=json_output)


def _row(one: Shape) -> dict[str, object]:
    certificate = one["certificate"] or {}
    serial = certificate.get("serial")
    return {
        "name": one["name"],
        "purpose": one["purpose"],
        "state": one["state"],
        "key": one["key"],
        "not_after": certificate.get("not_after"),
        "renews": _renews(one["renewal"]),
        "subject": certificate.get("subject"),
        "serial": serial and serial.removeprefix("0x"),
        "requests": ", ".join(request["name"] for request in one["requests"]) or None,
    }


def _renews(renewal: Shape | None) -> str | None:
    """When it renews itself, and what is in the way."""
    if renewal is None:
        return None
    trouble = renewal["error"] or renewal["waiting"]
    when = renewal["due_at"] or "by the master"
    return f"{when} ({renewal['by']}{': ' + trouble if trouble else ''})"


@app.command()
@reachable
def request(
    name: NameArgument,
    instance: Instance,
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
    json_output: JsonOption = False,
) -> None:
    """Make a key and a request (CSR) that any CA can certify; nothing changes until `vouchd certs install`.

    Example: vouchd certs request sslserver --name DNS:ocsp.example.org
    """
    wishes = {"subject": subject, "names": alternative or [], "algorithm": algorithm}
    body = {key: value for key, value in wishes.items() if value} | {"same_key": same_key}
    made = instance.call("certificates.request", name, body=body)
    output.record({"certificate": name, "request": made["file"]}, json_output=json_output)
    if not json_output:
        output.say(made["pem"].rstrip("\n"))
    output.hint(f"have it certified, then: vouchd certs install {name} FILE")
    if not algorithm:
        output.hint("a CA that takes RSA keys alone, as a Certificate System's caServerCert: --algorithm SHA256withRSA")


@app.command()
@reachable
def install(
    name: NameArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The certificate, or - for standard input.")],
    instance: Instance,
    chain: Annotated[
        str, typer.Option("--chain", metavar="FILE", help="The CAs above it, where FILE does not hold them.")
    ] = "",
    trial: Annotated[bool, typer.Option("--dry-run", help="Try the certificate out and change nothing.")] = False,
    restart: RestartOption = True,
    json_output: JsonOption = False,
) -> None:
    """Take in a certificate that a CA issued: it is tried out, then switched to.

    Example: vouchd certs install sslserver sslserver.pem --chain ca.pem
    """
    body: dict[str, object] = {"certificate": as_text(read_input(file, MAX_BUNDLE_BYTES)), "trial": trial}
    if chain:
        body["chain"] = as_text(read_input(chain, MAX_BUNDLE_BYTES))
    done = instance.call("certificates.install", name, body=body)
    taken_on(instance, [done], restart=restart, trial=trial, json_output=json_output)


@app.command()
@reachable
def renew(
    instance: Instance,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: those that are missing or expire soon.")
    ] = None,
    ca: CADirOption = DEFAULT_CA,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Validity; default: the profile's.")] = None,
    same_key: Annotated[bool, typer.Option("--same-key", help="Keep the present key instead of a new one.")] = False,
    restart: RestartOption = True,
    json_output: JsonOption = False,
) -> None:
    """Have our own CA certify anew, and take the certificates in. For another CA: `vouchd certs request`.

    Example: vouchd certs renew --ca ./ca
    """
    due = _due({one["name"]: one for one in instance.call("certificates.list")}, names or ())
    done = [_renewed(instance, one, ca, days, same_key=same_key) for one in due]
    if not done:
        output.note("no certificate expires soon; name those to renew all the same")
    taken_on(instance, done, restart=restart, trial=False, json_output=json_output)


def _due(known: Mapping[str, Shape], names: Iterable[str]) -> list[Shape]:
    """Those of these names, else those that are missing or expire soon. Raises: NotFound."""
    missing = [name for name in names if name not in known]
    if missing:
        raise NotFound(f"no system certificate {missing[0]!r}", hint="one of " + ", ".join(known))
    return [known[name] for name in names] or [one for one in known.values() if one["due"]]


def _renewed(instance: Instance, one: Shape, ca: Path, days: int | None, *, same_key: bool) -> Shape:
    """Have it make a request, have that certified here, and have it take the certificate in."""
    made = instance.call("certificates.request", one["name"], body={"same_key": same_key})
    certificate = certify(ca, Purpose(one["purpose"]), made["pem"].encode(), days)
    done: Shape = instance.call("certificates.install", one["name"], body={"certificate": as_text(certificate)})
    return done


def taken_on(instance: Instance, done: Sequence[Shape], *, restart: bool, trial: bool, json_output: bool) -> None:
    """Show what was installed, and have a running instance take it on."""
    for one in done:
        for warning in one["warnings"]:
            output.warn(f"{one['certificate']['name']}: {warning}")
        if not one["switched"] and not trial:
            output.effect(one["certificate"]["name"], ())
    before = instance.call("instance.get") if any(one["switched"] for one in done) else {"state": STOPPED}
    runs = before["state"] not in {STOPPED, STARTING}
    if runs and restart:
        restarted(instance, before)
    state = "tried out" if trial else "in use" if runs and restart else "installed"
    output.records([_installed_row(one, state) for one in done], json_output=json_output)
    if runs and not restart:
        output.hint("take it on with `vouchd restart`")


def _installed_row(one: Shape, state: str) -> dict[str, object]:
    placed = one["certificate"]
    certificate = placed["certificate"]
    row: dict[str, object] = {
        "name": placed["name"],
        "state": state,
        "not_after": certificate and certificate["not_after"],
        "certificate": placed["file"],
    }
    if placed["purpose"] == Purpose.ADMINISTRATOR.value:
        row |= {"browser": one["browser"], "password": one["password"]}
    return row


def as_text(data: bytes) -> str:
    """A certificate as the operations take it: PEM, or base64 of what is not text."""
    return data.decode("ascii", "replace") if b"-----BEGIN" in data else base64.b64encode(data).decode()
