"""`vouchd directory use`: an instance keeps its facts in a directory server from now on."""

from __future__ import annotations

from pathlib import Path

import typer

from vouchd.cli import output
from vouchd.cli.directory.setup import (
    DirectoryOption,
    DomainOption,
    ManagerOption,
    ManagerPasswordOption,
    StartTLSOption,
    TrustOption,
    URLOption,
    target_of,
)
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.cloning.directory_move import NewDirectory
from vouchd.directory.dse import ROOT_DN
from vouchd.instance import lifecycle
from vouchd.instance.lifecycle import manager_command
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring


def use(
    instance: InstanceOption = DEFAULT_INSTANCE,
    directory: DirectoryOption = None,
    url: URLOption = "",
    starttls: StartTLSOption = None,
    trust: TrustOption = None,
    manager: ManagerOption = ROOT_DN,
    password_file: ManagerPasswordOption = None,
    domain: DomainOption = "vouchd",
    json_output: JsonOption = False,
) -> None:
    """Keep the facts of this instance in a directory server, so that it can be cloned by replication.

    Prepares the server, copies CAs, CRLs and users there, and switches over; may be repeated after it was cut short.
    The embedded store stays as it was, in db/.

    Example: vouchd directory use --dir ds --password-file ds/manager.password
    """
    layout = Layout(instance.absolute())
    named = target_of(directory, url, starttls=starttls, trust=trust, replica_id=1)
    target = NewDirectory(named, manager, read_password(password_file, Path(manager)), domain)
    with wiring.services(layout) as services:
        count = target.take(services, wiring.open_store, output.note)
    if lifecycle.status(layout).pid is not None:
        lifecycle.restart(layout, manager_command(layout))
    output.record(
        {"instance": str(layout.root), "directory": f"{named.server.host}:{named.server.port}", "copied": count},
        json_output=json_output,
    )
    output.hint("make it ready for clones: vouchd clone prepare")


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(use)
