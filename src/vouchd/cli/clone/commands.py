"""`vouchd clone`: a master made ready, a clone made, taken away, made the master."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from vouchd.cli import output
from vouchd.cli.directory.options import DirectoryOption, ManagerPasswordOption, StartTLSOption, TrustOption
from vouchd.cli.directory.setup import ManagerOption
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.cloning.creation import CloneCreation, ClonePlan, journal_of
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, SUBSYSTEM_USER, own_member
from vouchd.cloning.registry import TOKEN_SECONDS, find, master_of, require_leavable
from vouchd.cloning.steps import run_steps
from vouchd.core.facts import DirectoryServer, Group, Member, Transport
from vouchd.directory.connection import server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.errors import ConfigError, PermissionDenied, StoreUnavailable, VouchdError
from vouchd.files import replace_file
from vouchd.instance import lifecycle
from vouchd.instance.certificates.places import SUBSYSTEM
from vouchd.instance.certificates.places import find as find_certificate
from vouchd.instance.configuration import write_values
from vouchd.instance.lifecycle import manager_command
from vouchd.settings.declared import DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance as wiring

app = typer.Typer(no_args_is_help=True, help="Clones: instances with the same keys that give the same answers.")

MASTER_REFRESH_SECONDS = 600
PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Password of the PKCS #12 file: first line (0600)."),
]

PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port of OCSP.")]
AgentPortOption = Annotated[int, typer.Option("--agent-port", min=1, max=65535, help="TCP port of agents.")]
HealthPortOption = Annotated[int, typer.Option("--health-port", min=0, max=65535, help="Of health and metrics.")]
ListenOption = Annotated[str, typer.Option("--listen", help="Address of the ports; default: all.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, max=256, help="Default: one per core.")]
OwnCAOption = Annotated[Path | None, typer.Option("--ca", metavar="DIR", help="Our own CA certifies the TLS server.")]
StartOption = Annotated[bool, typer.Option("--start/--no-start", help="Start and verify it.")]


@app.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The PKCS #12 file to carry to the clone.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help="Fully qualified name of this host, as clones reach it.")
    ] = "",
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="Name of the security domain.")] = "",
    password_file: PasswordFileOption = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-out", metavar="FILE", help="Write the token there (0600); default: show it.")
    ] = None,
    hours: Annotated[int, typer.Option("--hours", min=1, max=168, help="How long the token is good.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """Make a member ready to be cloned: keys in PKCS #12, refreshInSec, a join token, the command to run elsewhere.

    Example: vouchd clone prepare --host ocsp1.example.org --out keys.p12 --password-file keys.password
    """
    layout = Layout(instance.absolute())
    password = read_password(password_file, out)
    with wiring.services(layout) as services:
        services.membership.require_registrar()
        me = services.domain.create(own_member(_named(services.settings, host)), services.caller)
        _let_members_in(services)
        done = services.keys.export(out, password, services.caller)
        token, kept = services.domain.issue_token(services.caller, hours * TOKEN_SECONDS)
    changed = _ready_settings(layout, me, host, domain)
    if changed and lifecycle.status(layout).pid is not None:
        lifecycle.restart(layout, manager_command(layout))
    lifecycle.look_now(layout)
    if token_file is not None:
        replace_file(token_file, f"{token}\n".encode(), 0o600)
    given = {
        "master": f"https://{me.id}",
        "fingerprint": me.tls_sha256,
        "file": str(out),
        "keys": ", ".join(done.names),
        "token": None if token_file else token,
        "token_file": str(token_file) if token_file else None,
        "good_until": output.when(kept.expires_at),
    }
    output.record(given, json_output=json_output)
    files = {"token-file": token_file, "pkcs12": out, "password-file": password_file}
    words = [f"--{option} {path.name if path else 'FILE'}" for option, path in files.items()]
    output.hint(
        f"on the clone: vouchd clone create --master https://{me.id} --fingerprint {me.tls_sha256} {' '.join(words)}"
        f"{_directory_words(me.directory)} --host NAME"
    )


def _directory_words(server: DirectoryServer | None) -> str:
    """What the clone's directory server has to have in common with the master's."""
    if server is None:
        return ""
    where = "ldaps://HOST:636" if server.transport is Transport.TLS else "ldap://HOST:389"
    trust = "" if server.transport is Transport.PLAIN else " --directory-trust CA.PEM"
    starttls = " --starttls" if server.transport is Transport.STARTTLS else ""
    return f" --directory '{where}/{server.suffix}'{starttls}{trust} --directory-password-file FILE"


def _named(settings: Settings, host: str) -> Settings:
    return replace(settings, of_set=replace(settings.of_set, host=host or settings.of_set.host))


def _ready_settings(layout: Layout, me: Member, host: str, domain: str) -> bool:
    settings = read_settings(layout)
    values = {}
    if host:
        values["vouchd.domain.host"] = host
    if domain:
        values["securitydomain.name"] = domain
    if settings.refresh_seconds in {0, CLONE_REFRESH_SECONDS} and not me.clone:
        values["ocsp.store.defStore.refreshInSec"] = str(MASTER_REFRESH_SECONDS)
        output.note(
            f"refreshInSec is {MASTER_REFRESH_SECONDS} now: a master's is neither 0 nor {CLONE_REFRESH_SECONDS}"
        )
    return write_values(layout, values) if values else False


def _let_members_in(services: wiring.Services) -> None:
    """Members come with the subsystem certificate, which all of them have."""
    certificate = find_certificate(services.settings, SUBSYSTEM).der
    if certificate is None:
        raise ConfigError("there is no subsystem certificate yet", hint="see `vouchd certs list`")
    known = {user.id: user for user in services.store.users()}
    user = known.get(SUBSYSTEM_USER)
    if user is None:
        services.users.add(
            SUBSYSTEM_USER,
            services.caller,
            full_name="The members of the set",
            groups=[Group.OCSP_ADMINISTRATORS, Group.TRUSTED_MANAGERS],
            certificates=[certificate],
        )
    elif certificate not in user.certificates:
        services.users.add_certificate(SUBSYSTEM_USER, certificate, services.caller)


@app.command()
def create(
    master: Annotated[str, typer.Option("--master", metavar="URL", help="Agent port of a member: https://HOST:8443.")],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="HEX", help="SHA-256 of its certificate, as `prepare` shows it.")
    ],
    token_file: Annotated[Path, typer.Option("--token-file", metavar="FILE", help="The join token (0600).")],
    pkcs12: Annotated[Path, typer.Option("--pkcs12", metavar="FILE", help="The keys of the set, carried here.")],
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="Fully qualified name of this host.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordFileOption = None,
    port: PortOption = 8080,
    agent_port: AgentPortOption = 8443,
    health_port: HealthPortOption = 8081,
    listen: ListenOption = "",
    workers: WorkersOption = 0,
    ca: OwnCAOption = None,
    directory: DirectoryOption = "",
    starttls: StartTLSOption = False,
    trust: TrustOption = None,
    manager: ManagerOption = ROOT_DN,
    manager_password_file: ManagerPasswordOption = None,
    start: StartOption = True,
    json_output: JsonOption = False,
) -> None:
    """Make a clone in one go: keys, certificate, domain, directory, replication, settings, start, comparison.

    May be stopped anywhere: the same command goes on, and the master serves on untouched.

    Example: vouchd clone create --master https://ocsp1.example.org:8443 --fingerprint 5f… --token-file token
    --pkcs12 keys.p12 --password-file keys.password --host ocsp2.example.org
    """
    layout = Layout(instance.absolute())
    values = _host_values(host, port, agent_port, health_port, workers, listen)
    named = DirectorySettings(server_of(directory, start_tls=starttls), "", trust) if directory else None
    plan = ClonePlan(
        layout=layout,
        master=address_of(master),
        fingerprint=fingerprint,
        token=read_password(token_file, token_file),
        pkcs12=pkcs12,
        pkcs12_password=read_password(password_file, pkcs12),
        host=host,
        agent_port=agent_port,
        ee_port=port,
        values=values,
        ca=ca,
        directory=named,
        manager=(manager, read_password(manager_password_file, Path(manager))) if named else None,
        start=start,
    )
    creation = CloneCreation(plan, wiring.services, wiring.check_instance, output.note)
    run_steps(creation.steps(), creation.journal, output.note)
    told = {"instance": str(layout.root), "host": host, "port": port, "agent_port": agent_port}
    output.record(told | {"member": f"{host}:{agent_port}"}, json_output=json_output)
    output.hint("compare it with the other members at any time: vouchd clone verify")


def _host_values(host: str, port: int, agent_port: int, health_port: int, workers: int, listen: str) -> dict[str, str]:
    """The lines of CS.cfg that belong to this host."""
    values = {
        "vouchd.ee.port": str(port),
        "vouchd.agent.port": str(agent_port),
        "vouchd.health.port": str(health_port),
        "vouchd.ee.workers": str(workers),
        "vouchd.domain.host": host,
    }
    return values | ({"vouchd.ee.host": listen, "vouchd.agent.host": listen} if listen else {})


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an agent port's URL. Raises: ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme != "https":
        raise ConfigError(f"{url[:200]!r} is not the URL of an agent port", hint="as in https://ocsp1.example.org:8443")
    return host, port or 8443


# `vouchd clone destroy` and `promote`: a clone leaves its set, or becomes the master.

_AWAY = "start its directory server, which may have CRLs that no other has; --force gives them up"


@app.command()
def destroy(
    instance: InstanceOption = DEFAULT_INSTANCE,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="HEX", help="Of the master, where the registry here has none.")
    ] = "",
    master: Annotated[str, typer.Option("--master", metavar="URL", help="The master, likewise.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the instance's folder too, with its keys.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Give up what only its own directory server has, or that server.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Take a clone out of its set: registry, replication agreements, replica update vector; and stop it.

    Example: vouchd clone destroy --instance /srv/clone --remove
    """
    layout = Layout(instance.absolute())
    settings = read_settings(layout)
    own = settings.member_id
    members = _members(layout, force=force)
    for me in (member for member in members if member.id == own):
        require_leavable(me, members)  # before it is stopped
    if not members and not master:  # making it was cut short before the registry came
        kept = journal_of(layout).kept()
        master, fingerprint = kept.get("master", ""), kept.get("fingerprint", "")
    other = _other(members, own, master, fingerprint)
    if not force:
        wiring.require_replicated(layout, settings, members)
    lifecycle.stop(layout)
    if not force:
        wiring.require_replicated(layout, settings, members)  # what was acknowledged in the meantime
    if other is not None:
        try:
            wiring.connector(layout, settings)(other).leave(own)
            output.note(f"{own} has left the domain")
        except PermissionDenied:  # its key is in no registry: it was taken out, or never came in
            output.note(f"{own} is not in the domain")
    try:
        wiring.detach(layout, settings, output.note)
    except StoreUnavailable as error:
        if not force:
            raise
        output.warn(f"its agreements stay in its directory server: {error}")
    if remove:
        shutil.rmtree(layout.root)
    output.record({"left": own, "removed": str(layout.root) if remove else None}, json_output=json_output)


@app.command()
def promote(
    instance: InstanceOption = DEFAULT_INSTANCE,
    force: Annotated[bool, typer.Option("--force", help="The master is gone for good, or does not answer.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make this clone the master; the one before becomes a clone, now or when it comes back.

    Example: vouchd clone promote --instance /srv/clone
    """
    layout = Layout(instance.absolute())
    settings = read_settings(layout)
    own = settings.member_id
    with wiring.services(layout) as services:
        members = services.store.members()
        me, before = find(members, own), master_of(members)
        if before is not None and before.id != own:
            try:
                wiring.connector(layout, settings)(before).promote(own)
                output.note(f"{before.id} has stepped down")
            except VouchdError as error:
                if not force:
                    raise ConfigError(
                        f"the master {before.id} has not stepped down: {error}",
                        hint="if it is gone for good: vouchd clone promote --force",
                    ) from error
                output.warn(f"{before.id} was not asked: {error}", "it takes itself for a clone when it comes back")
        promoted = services.domain.promote(own, services.caller)
    write_values(layout, {"ocsp.store.defStore.refreshInSec": str(MASTER_REFRESH_SECONDS), "vouchd.clone.master": ""})
    if lifecycle.status(layout).pid is not None:
        lifecycle.restart(layout, manager_command(layout))
    output.record({"master": promoted.id, "term": promoted.term, "was": me.clone}, json_output=json_output)


def _members(layout: Layout, *, force: bool) -> tuple[Member, ...]:
    """The registry, empty where it is not here. Raises: StoreUnavailable, but not by force."""
    with wiring.services(layout) as services:
        try:
            return services.store.members()
        except VouchdError as error:
            if isinstance(error, StoreUnavailable) and not force:
                raise StoreUnavailable(str(error), hint=_AWAY) from error
            output.warn(f"the registry here cannot be read: {error}")
            return ()


def _other(members: tuple[Member, ...], own: str, master: str, fingerprint: str) -> Member | None:
    """A member to say goodbye to: the master if there is one."""
    if master:
        host, port = address_of(master)
        return Member(host, port, 0, "", clone=False, joined_at=0, tls_sha256=fingerprint)
    others = [member for member in members if member.id != own]
    return master_of(others) or next(iter(others), None)
