"""`vouchd directory use`: an instance keeps its facts in a directory server from now on."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import typer

from vouchd.api.instance import STARTING, STOPPED
from vouchd.cli import output
from vouchd.cli.directory.setup import (
    DirectoryOption,
    DomainOption,
    ManagerPasswordOption,
    StartTLSOption,
    TrustOption,
    URLOption,
    target_of,
)
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.lifecycle import restarted
from vouchd.cli.options import ClientCertificateOption, JsonOption, ManagerOption, read_password
from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory.dse import ROOT_DN


@reachable
def use(
    instance: Instance,
    directory: DirectoryOption = None,
    url: URLOption = "",
    starttls: StartTLSOption = None,
    trust: TrustOption = None,
    manager: ManagerOption = ROOT_DN,
    password_file: ManagerPasswordOption = None,
    domain: DomainOption = "vouchd",
    client_certificate: ClientCertificateOption = "",
    json_output: JsonOption = False,
) -> None:
    """Keep the facts of this instance in a directory server, so that it can be cloned by replication.

    Prepares the server, copies CAs, CRLs and users there, and switches over; may be repeated after it was cut short.
    The embedded store stays as it was, in db/. With --client-certificate the instance binds with that certificate, no
    longer with a password; the server has to map it (docs/set/directory.md).

    Example: vouchd directory use --dir ds --password-file ds/manager.password
    """
    named = target_of(directory, url, starttls=starttls, trust=trust, replica_id=1)
    body = {
        "url": url_of(named.server),
        "starttls": named.server.transport is Transport.STARTTLS,
        "trust_file": str(named.trust_file.absolute()) if named.trust_file else "",
        "manager": manager,
        "password": read_password(password_file, Path(manager)),
        "domain": domain,
        "client_certificate": client_certificate,
    }
    before = instance.call("instance.get")
    done = instance.call("directory_server.use", body=body)
    for note in done["notes"]:
        output.note(note)
    if before["state"] not in {STOPPED, STARTING}:
        restarted(instance, before)
    summary = {name: done[name] for name in ("instance", "directory", "copied")}
    output.record(summary, json_output=json_output)
    output.hint("make it ready for clones: vouchd clone prepare")


def url_of(server: DirectoryServer) -> str:
    """The LDAP URL of a server and its suffix."""
    scheme = "ldaps" if server.transport is Transport.TLS else "ldap"
    return f"{scheme}://{server.host}:{server.port}/{quote(server.suffix)}"


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(use)
