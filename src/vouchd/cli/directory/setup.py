"""`vouchd directory setup` and `status`: a directory server prepared for an instance, and how its replication does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.directory.server import shown
from vouchd.cli.options import (
    DEFAULT_INSTANCE,
    ClientCertificateOption,
    InstanceOption,
    JsonOption,
    ManagerOption,
    read_password,
)
from vouchd.clock import SystemClock
from vouchd.cloning.directory_account import bind_with_certificate, newest_certificate
from vouchd.cloning.directory_setup import set_up_as_manager
from vouchd.cloning.replication import replication_health
from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory.agreements import State
from vouchd.directory.connection import server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.directory.health import PeerHealth, ReplicationHealth
from vouchd.directory.plan import read_plan, trust_file
from vouchd.directory.setup import SetUp
from vouchd.errors import ConfigError
from vouchd.files import write_new
from vouchd.settings.declared import CLIENT_AUTH, DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, replace_passwords
from vouchd.settings.reading import read_settings
from vouchd.wiring import services as wiring

DirectoryOption = Annotated[
    Path | None, typer.Option("--dir", "-d", metavar="DIR", help="A server that was made on this host.")
]
URLOption = Annotated[
    str, typer.Option("--url", metavar="URL", help="A server elsewhere: ldap://host.example:389/o=ocsp.example.")
]
StartTLSOption = Annotated[
    bool | None, typer.Option("--starttls/--no-starttls", help="StartTLS; default with --dir: where it has TLS.")
]
TrustOption = Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="CAs of the directory server, PEM.")]
ManagerPasswordOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="The manager's password (0600).")
]
DomainOption = Annotated[str, typer.Option("--domain", metavar="NAME", help="Name of the security domain.")]
FOUND_RED = 1  # exit code of `status` when changes do not flow


def setup(
    instance: InstanceOption = DEFAULT_INSTANCE,
    directory: DirectoryOption = None,
    url: URLOption = "",
    starttls: StartTLSOption = None,
    trust: TrustOption = None,
    manager: ManagerOption = ROOT_DN,
    password_file: ManagerPasswordOption = None,
    replica_id: Annotated[
        int | None, typer.Option("--replica-id", min=1, max=65534, help="Make it a replica, unique in the set.")
    ] = None,
    clone: Annotated[bool, typer.Option("--clone", help="Leave the suffix empty: it comes from the master.")] = False,
    domain: DomainOption = "vouchd",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Passwords of the accounts: a new file (0600).")
    ] = None,
    client_certificate: ClientCertificateOption = "",
    json_output: JsonOption = False,
) -> None:
    """Prepare a directory server: schema, suffix, indexes, limits, and accounts with the rights they need alone.

    Of an instance that keeps its facts there (--instance), or before there is one: --dir or --url, with --out. The
    manager's password is used once and not kept. May be repeated.

    Example: vouchd directory setup --dir ds --password-file ds/manager.password --out accounts.conf
    """
    if directory is None and not url:
        settings = read_settings(Layout(instance.absolute()))
        target = directory_of(settings)
        passwords = Layout(instance.absolute()).password_conf
        known = read_passwords(passwords)
        shown = client_certificate or (target.client_certificate if target.bind == CLIENT_AUTH else "")
        certificate = newest_certificate(Layout(instance.absolute()), settings, shown) if shown else None
    else:
        if client_certificate:
            raise ConfigError(
                "only an instance has a certificate to bind with",
                hint="set up the server, make the instance, then repeat this command with --instance alone",
            )
        if out is None:
            raise ConfigError("the passwords of the accounts need a place", hint="name a new file: --out FILE")
        target = target_of(directory, url, starttls=starttls, trust=trust, replica_id=replica_id)
        known, certificate = {}, None
    password = read_password(password_file, Path(manager))
    made, kept = set_up_as_manager(
        target, (manager, password), known, output.note, clone=clone, domain=domain, certificate=certificate
    )
    if out is not None:
        write_new(out, "".join(f"{name}={value}\n" for name, value in kept.items()).encode(), 0o600)
    else:
        replace_passwords(passwords, known | kept)
    if client_certificate:
        bind_with_certificate(Layout(instance.absolute()), settings, client_certificate)
        output.hint("it counts from the next start of the instance: vouchd restart")
    _tell(target.server, made, out, json_output=json_output)


def _tell(server: DirectoryServer, made: SetUp, out: Path | None, *, json_output: bool) -> None:
    output.record(
        {
            "host": server.host,
            "port": server.port,
            "transport": server.transport.value,
            "suffix": server.suffix,
            "replica_id": server.replica_id,
            "account": made.bind_dn,
            "passwords": str(out) if out else "password.conf",
        },
        json_output=json_output,
    )
    if made.restart_for:
        what = " and ".join(made.restart_for)
        output.warn(f"{what}: in force after a restart of the directory server", "restart it, then go on")


def target_of(
    directory: Path | None, url: str, *, starttls: bool | None, trust: Path | None, replica_id: int | None
) -> DirectorySettings:
    """The server that the options name."""
    if directory is not None and url:
        raise ConfigError("--dir and --url exclude each other", hint="give one of them")
    if directory is None:
        server = server_of(url, start_tls=bool(starttls), replica_id=replica_id)
        return DirectorySettings(server, "", trust)
    plan = read_plan(directory)
    with_tls = plan.secure_port is not None
    wanted = with_tls if starttls is None else starttls
    endpoint = plan.server(
        Transport.STARTTLS if wanted and plan.port else Transport.TLS if with_tls else Transport.PLAIN
    )
    server = DirectoryServer(endpoint.host, endpoint.port, endpoint.transport, endpoint.suffix, replica_id)
    return DirectorySettings(server, "", trust or (trust_file(directory) if with_tls else None))


def directory_of(settings: Settings) -> DirectorySettings:
    """The directory server that the instance keeps its facts in. Raises: ConfigError when it does not."""
    if settings.directory is None:
        raise ConfigError(
            "the instance keeps its facts in the embedded store, not in a directory",
            hint="name a server with --dir or --url; `vouchd directory create` makes one",
        )
    return settings.directory


def status(
    instance: InstanceOption = DEFAULT_INSTANCE,
    directory: Annotated[
        Path | None, typer.Option("--dir", "-d", metavar="DIR", help="Only whether the server made there runs.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show how the replication of an instance's directory server does; exits with 1 when changes do not flow.

    Each other server of the set is asked which changes it has. With --dir: whether a server on this host runs, and 1
    when it does not answer.

    Example: vouchd directory status --json
    """
    if directory is not None:
        fields = shown(directory)
        output.record(fields, json_output=json_output)
        if not fields["answers"]:
            raise typer.Exit(FOUND_RED)
        return
    layout = Layout(instance.absolute())
    settings = read_settings(layout)
    target = directory_of(settings)
    health = _health(layout)
    if json_output:
        output.as_json(_fields(target.server, health) | {"servers": [_row(peer) for peer in health.peers]})
    else:
        output.record(_fields(target.server, health), json_output=False)
        output.records([_row(peer) for peer in health.peers], json_output=False, empty="no other server in the set")
    for peer in health.peers:
        if peer.error:
            output.warn(peer.error, peer.error_hint)
    if health.state is State.RED:
        raise typer.Exit(FOUND_RED)


def _health(layout: Layout) -> ReplicationHealth:
    with wiring.services(layout) as services:
        return replication_health(layout, services.settings, services.store.members(), SystemClock())


def _fields(server: DirectoryServer, health: ReplicationHealth) -> dict[str, object]:
    return {
        "host": server.host,
        "port": server.port,
        "transport": server.transport.value,
        "suffix": server.suffix,
        "replica_id": health.vector.replica_id if health.vector else None,
        "replication": health.state.value if health.vector else "off",
        "in_sync": health.in_sync,
        "conflicts": health.conflicts,
        "stale_replicas": ", ".join(map(str, health.stale_replicas)) or None,
        "agreements_of_others": ", ".join(one.name for one in health.strange) or None,
    }


def _row(peer: PeerHealth) -> dict[str, object]:
    agreement = peer.agreement
    return {
        "host": peer.server.host,
        "port": peer.server.port,
        "replica_id": peer.server.replica_id,
        "state": peer.state.value,
        "lag_seconds": peer.lag_seconds,
        "ahead": peer.ahead,
        "sent": agreement.changes_sent if agreement else None,
        "last_update": output.when(agreement.last_update_end or agreement.last_update_start) if agreement else None,
        "message": agreement.message if agreement else "no agreement",
    }


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    for verb in (setup, status):
        app.command()(verb)
