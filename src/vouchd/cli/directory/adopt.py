"""`vouchd directory adopt`: take over the CAs and CRLs that a Certificate System OCSP keeps in a directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption, read_password
from vouchd.cli.serving import seconds_to_wait
from vouchd.client.admin import error_of
from vouchd.directory.dse import ROOT_DN
from vouchd.errors import outcome


@reachable
def adopt(
    instance: Instance,
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", help="Another directory: ldap://host.example:389/o=pki-tomcat-OCSP."),
    ] = "",
    starttls: Annotated[bool, typer.Option("--starttls", help="StartTLS to that directory.")] = False,
    trust: Annotated[
        Path | None, typer.Option("--trust", metavar="FILE", help="CAs of that server, PEM, on the instance's host.")
    ] = None,
    bind: Annotated[str, typer.Option("--bind", metavar="DN", help="Who reads there.")] = ROOT_DN,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Its password (0600).")
    ] = None,
    trusted_responder: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-responder",
            metavar="SUBJECT",
            help="A CA that need not have issued the signer: its clients are set to trust it; repeatable.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Take over the CAs and CRLs that a Certificate System OCSP keeps in a directory.

    From the instance's own suffix, or another directory (--url), which is only read. Every CRL is verified as one that
    is pushed is; what is held already is passed over. The exit code is that of the first failure.

    Example: vouchd directory adopt --url ldaps://old.example:636/o=pki-tomcat-OCSP --trust ca.pem
    """
    body: dict[str, object] = {}
    if url:
        body = {"url": url, "starttls": starttls, "bind": bind, "password": read_password(password_file, Path(bind))}
        body |= {"trust_file": str(trust.absolute())} if trust else {}
    if trusted_responder:
        body["trusted_responder"] = trusted_responder
    done = instance.call("directory_server.adopt", body=body, wait=seconds_to_wait(True))
    for one in done["adopted"]:
        output.effect(one["label"], one["changes"])
        for doubt in one["doubts"]:
            output.warn(f"{one['label']}: {doubt}")
    failures = [error_of(json.dumps(one).encode()) for one in done["failures"]]
    for failure in failures:
        output.fail(failure)
    rows = [
        {
            "CA": one["label"],
            "id": one["authority"],
            "CRLs": one["crls"],
            "taken": one["taken"],
            "entry": one["entry"],
        }
        for one in done["adopted"]
    ]
    output.records(rows, json_output=json_output, empty=f"nothing to take over below {done['suffix']}")
    if failures:
        raise typer.Exit(outcome(failures[0]).exit_code)


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(adopt)
