"""`vouchd directory adopt`: take over the CAs and CRLs that a Certificate System OCSP keeps in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output, serving
from vouchd.cli.directory.setup import directory_of
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.core.facts import Epoch
from vouchd.directory.connection import Connection, Credentials, open_as_manager, server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.directory.foreign import ForeignPoint, foreign_points
from vouchd.errors import ConfigError, CRLStale, StoreUnavailable, VouchdError, outcome
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance as wiring
from vouchd.wiring.instance import Services


def adopt(
    instance: InstanceOption = DEFAULT_INSTANCE,
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", help="Another directory: ldap://host.example:389/o=pki-tomcat-OCSP."),
    ] = "",
    starttls: Annotated[bool, typer.Option("--starttls", help="StartTLS to that directory.")] = False,
    trust: Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="CAs of that server, PEM.")] = None,
    bind: Annotated[str, typer.Option("--bind", metavar="DN", help="Who reads there.")] = ROOT_DN,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Its password (0600).")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Take over the CAs and CRLs that a Certificate System OCSP keeps in a directory.

    From the instance's own suffix, or another directory (--url), which is only read. Every CRL is verified as one that
    is pushed is; what is held already is passed over. The exit code is that of the first failure.

    Example: vouchd directory adopt --url ldaps://old.example:636/o=pki-tomcat-OCSP --trust ca.pem
    """
    layout = Layout(instance.absolute())
    connection, suffix = _source(layout, url, starttls, trust, bind, password_file)
    taken: list[Epoch] = []
    failures: list[VouchdError] = []
    rows = []
    try:
        with wiring.services(layout) as services:
            for point in foreign_points(connection, suffix):
                try:
                    rows.append(_adopt(services, point, taken))
                except StoreUnavailable:
                    raise
                except VouchdError as error:
                    failures.append(error)
                    output.fail(type(error)(f"{point.dn}: {error}", hint=error.hint))
    finally:
        connection.close()
    if rows:
        serving.changed(layout, taken)
    output.records(rows, json_output=json_output, empty=f"nothing to take over below {suffix}")
    if failures:
        raise typer.Exit(outcome(failures[0]).exit_code)


def _source(
    layout: Layout, url: str, starttls: bool, trust: Path | None, bind: str, password_file: Path | None
) -> tuple[Connection, str]:
    """A connection to where it is read from, and the suffix there."""
    if url:
        server = server_of(url, start_tls=starttls)
        credentials = Credentials(bind, read_password(password_file, Path(bind)))
        return open_as_manager(server, credentials, trust), server.suffix
    own = directory_of(read_settings(layout))
    password = read_passwords(layout.password_conf).get(INTERNALDB, "")
    return Connection(own.server, Credentials(own.bind_dn, password), own.trust_file), own.server.suffix


def _adopt(services: Services, point: ForeignPoint, taken: list[Epoch]) -> dict[str, object]:
    """Register the CA of one entry and take its CRLs; what was new goes to `taken`. Raises: VouchdError."""
    if len(point.certificates) != 1:
        raise ConfigError(
            f"{len(point.certificates)} CA certificates instead of one", hint="add the CA: vouchd authority add"
        )
    added = services.authorities.add(point.certificates[0], services.caller)
    authority = added.subject
    output.effect(authority.label, added.changes)
    new = 0
    for crl in point.crls:
        try:
            taken += serving.take(services, crl, f"adopted from {point.dn}")
        except CRLStale:  # held already, by an earlier adoption or a newer CRL
            continue
        new += 1
    return {"CA": authority.label, "id": authority.id, "CRLs": len(point.crls), "taken": new, "entry": point.dn}


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(adopt)
