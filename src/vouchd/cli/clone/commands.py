"""`vouchd clone`: a master made ready, a clone made, taken away, made the master."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.api.instance import STARTING, STOPPED
from vouchd.cli import output
from vouchd.cli.clone.other_master import (
    MasterConfigOption,
    MasterServerOptions,
    OtherMaster,
    ResponderOption,
    TrustedOption,
    clone_master,
)
from vouchd.cli.instance import Folder, Instance, reachable
from vouchd.cli.lifecycle import restarted
from vouchd.cli.new_instance import OwnDirectoryOptions, TokenOptions
from vouchd.cli.options import (
    DEFAULT_INSTANCE,
    ClientCertificateOption,
    InstanceOption,
    JsonOption,
    RenewOption,
    read_password,
    spread,
)
from vouchd.cloning import roles
from vouchd.cloning.client import address_of
from vouchd.cloning.clone_creation import CloneCreation, ClonePlan
from vouchd.cloning.directory_account import bound_by
from vouchd.cloning.steps import run_steps
from vouchd.core.facts import Member, Transport
from vouchd.directory.connection import server_of
from vouchd.errors import ConfigError
from vouchd.files import PRIVATE, replace_file
from vouchd.instance import lifecycle
from vouchd.instance.configuration import write_values
from vouchd.instance.lifecycle import manager_command
from vouchd.migration.master_cloning import leave_master
from vouchd.settings.declared import DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.token_source import token_source
from vouchd.wiring import services as wiring
from vouchd.wiring.instance import check_instance, compare

app = typer.Typer(no_args_is_help=True, help="Clones: instances with the same keys that give the same answers.")

PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Password of the PKCS #12 file: first line (0600)."),
]


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What belongs to the clone's own host."""

    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port of OCSP.")] = 8080
    agent_port: Annotated[int, typer.Option("--agent-port", min=1, max=65535, help="TCP port of agents.")] = 8443
    health_port: Annotated[int, typer.Option("--health-port", min=0, max=65535, help="Of health and metrics.")] = 8081
    listen: Annotated[str, typer.Option("--listen", metavar="ADDRESS", help="Of the ports; default: all.")] = ""
    workers: Annotated[int, typer.Option("--workers", min=0, max=256, help="Default: one per core.")] = 0

    def lines(self, host: str) -> dict[str, str]:
        """The lines of CS.cfg that they say, with the name of the host."""
        values = {
            "vouchd.ee.port": str(self.port),
            "vouchd.agent.port": str(self.agent_port),
            "vouchd.health.port": str(self.health_port),
            "vouchd.ee.workers": str(self.workers),
            "vouchd.domain.host": host,
        }
        return values | ({"vouchd.ee.host": self.listen, "vouchd.agent.host": self.listen} if self.listen else {})


@dataclass(frozen=True, slots=True)
class JoiningOptions:
    """How the clone joins a member, and where the keys of the set come from."""

    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="HEX", help="SHA-256 of its certificate, as `prepare` shows it.")
    ] = ""
    token_file: Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="The join token (0600).")] = (
        None
    )
    pkcs12: Annotated[
        Path | None, typer.Option("--pkcs12", metavar="FILE", help="The keys of the set, carried here.")
    ] = None
    token: Annotated[
        str,
        typer.Option("--token", metavar="LABEL", help="The token (HSM) with the set's signing keys, as reached here."),
    ] = ""


MasterOption = Annotated[
    str,
    typer.Option(
        "--master",
        metavar="URL",
        help="Agent port of a member, https://HOST:8443; or a Certificate System's internal database, ldap://….",
    ),
]
HostOption = Annotated[str, typer.Option("--host", metavar="NAME", help="Fully qualified name of this host.")]
OwnCAOption = Annotated[Path | None, typer.Option("--ca", metavar="DIR", help="Our own CA certifies the TLS server.")]
StartOption = Annotated[bool, typer.Option("--start/--no-start", help="Start and verify it.")]


@app.command()
@reachable
def prepare(
    instance: Instance,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The PKCS #12 file to carry to the clone; keys on a token need none."
        ),
    ] = None,
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
    body: dict[str, object] = {"host": host, "domain": domain, "hours": hours}
    if out is not None:
        body["password"] = read_password(password_file, out)
    before = instance.call("instance.get")
    done = instance.call("cloning.prepare", body=body)
    if out is not None:
        replace_file(out, base64.b64decode(done["pkcs12"]), PRIVATE)
    for note in done["notes"]:
        output.note(note)
    if done["pending_restart"] and before["state"] not in {STOPPED, STARTING}:
        restarted(instance, before)
    if token_file is not None:
        replace_file(token_file, f"{done['token']}\n".encode(), PRIVATE)
    master, fingerprint = f"https://{done['member']}", done["fingerprint"]
    summary = {
        "master": master,
        "fingerprint": fingerprint,
        "file": str(out) if out else None,
        "keys": ", ".join(done["keys"]) or None,
        "on_tokens": ", ".join(done["on_tokens"]) or None,
        "token": None if token_file else done["token"],
        "token_file": str(token_file) if token_file else None,
        "good_until": done["good_until"],
    }
    output.record(summary, json_output=json_output)
    files = {"token-file": token_file} | ({"pkcs12": out, "password-file": password_file} if out else {})
    words = [f"--{option} {path.name if path else 'FILE'}" for option, path in files.items()]
    words += ["--token LABEL --module FILE --pin-file FILE"] if done["on_tokens"] else []
    output.hint(
        f"on the clone: vouchd clone create --master {master} --fingerprint {fingerprint} {' '.join(words)}"
        f"{_directory_words(done['directory'])} --host NAME"
    )


def _directory_words(needed: Mapping[str, str] | None) -> str:
    """What the clone's directory server has to have in common with the master's."""
    if needed is None:
        return ""
    transport = Transport(needed["connection"])
    where = "ldaps://HOST:636" if transport is Transport.TLS else "ldap://HOST:389"
    trust = "" if transport is Transport.PLAIN else " --directory-trust CA.PEM"
    starttls = " --starttls" if transport is Transport.STARTTLS else ""
    return f" --directory '{where}/{needed['suffix']}'{starttls}{trust} --directory-password-file FILE"


@app.command()
@spread
def create(
    master: MasterOption,
    host: HostOption,
    *,
    joining: JoiningOptions,
    reached: TokenOptions,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordFileOption = None,
    here: HostOptions,
    ca: OwnCAOption = None,
    own: OwnDirectoryOptions,
    client_certificate: ClientCertificateOption = "",
    config: MasterConfigOption = None,
    server: MasterServerOptions,
    responder: ResponderOption = "",
    trusted_responder: TrustedOption = None,
    start: StartOption = True,
    json_output: JsonOption = False,
) -> None:
    """Make a clone in one go: keys, certificate, domain, directory, replication, settings, start, comparison.

    With an ldap:// URL the master is a Certificate System's OCSP manager, and --config, --pkcs12 and --directory are
    needed. Its server sends its data to ours, one way, and each change is judged like a push.

    Where this host reaches the token (HSM) that has the set's signing keys, --token takes the place of --pkcs12: the
    keys are found there by their certificates. May be stopped anywhere: the same command goes on, and the master
    serves on untouched.

    Example: vouchd clone create --master https://ocsp1.example.org:8443 --fingerprint 5f… --token-file token
    --pkcs12 keys.p12 --password-file keys.password --host ocsp2.example.org
    """
    layout, values = Layout(instance.absolute()), here.lines(host)
    if master.lower().startswith(("ldap://", "ldaps://")):
        if client_certificate:
            raise ConfigError(
                "a clone of a Certificate System is made with a password",
                hint="afterwards: vouchd directory setup --client-certificate",
            )
        other = OtherMaster(master, server, config, responder, tuple(trusted_responder or ()))
        clone_master(layout, other, own, (joining.pkcs12, password_file), values, ca, start=start)
        others = "its master"
    else:
        directory = _own_directory(own, client_certificate)
        plan = _member_plan(layout, master, host, here, joining, reached, password_file)
        manager = (own.manager, read_password(own.manager_password_file, Path(own.manager))) if directory else None
        plan = replace(plan, ca=ca, directory=directory, manager=manager, start=start)
        creation = CloneCreation(plan, wiring.services, check_instance, compare, output.note)
        run_steps(creation.steps(), creation.journal, output.note)
        others = "the other members"
    summary = {"instance": str(layout.root), "host": host, "port": here.port, "agent_port": here.agent_port}
    output.record(summary | {"member": f"{host}:{here.agent_port}"}, json_output=json_output)
    output.hint(f"compare it with {others} at any time: vouchd clone verify")


def _own_directory(own: OwnDirectoryOptions, client_certificate: str) -> DirectorySettings | None:
    """The clone's directory server and how it binds there; None without one."""
    if not own.directory:
        if client_certificate:
            raise ConfigError("which directory server is not said", hint="name it: --directory ldaps://HOST:636/SUFFIX")
        return None
    server = DirectorySettings(server_of(own.directory, start_tls=own.starttls), "", own.trust)
    return bound_by(server, client_certificate)


def _member_plan(
    layout: Layout,
    master: str,
    host: str,
    here: HostOptions,
    joining: JoiningOptions,
    reached: TokenOptions,
    password_file: Path | None,
) -> ClonePlan:
    """A clone of that member, as the options name its host and its keys; without a directory server."""
    if not joining.fingerprint or joining.token_file is None:
        raise ConfigError(
            "joining a member takes its fingerprint and a token", hint="there: vouchd clone prepare shows both"
        )
    source = token_source(joining.token, reached.module, reached.pin_file, reached.pin_command, extractable=False)
    pkcs12 = joining.pkcs12
    return ClonePlan(
        layout=layout,
        master=address_of(master),
        fingerprint=joining.fingerprint,
        token=read_password(joining.token_file, joining.token_file),
        pkcs12=pkcs12,
        pkcs12_password=read_password(password_file, pkcs12) if pkcs12 is not None else "",
        host=host,
        agent_port=here.agent_port,
        ee_port=here.port,
        values=here.lines(host) | ({"ocsp.signing.tokenname": source.place.name} if source is not None else {}),
        ca=None,
        directory=None,
        manager=None,
        place=source.place if source is not None else None,
    )


# `vouchd clone destroy` and `promote`: a clone leaves its set, or becomes the master.


@app.command()
@reachable
@spread
def destroy(
    instance: Instance,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="HEX", help="Of the master, where the registry here has none.")
    ] = "",
    master: Annotated[str, typer.Option("--master", metavar="URL", help="The master, likewise.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the instance's folder too, with its keys.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Give up what only its own directory server has, or that server.")
    ] = False,
    renew: RenewOption = False,
    *,
    server: MasterServerOptions,
    json_output: JsonOption = False,
) -> None:
    """Take a clone out of its set: registry, replication agreements, replica update vector; and stop it.

    A clone of a Certificate System has its agreement there taken away, which needs --master-password-file.

    Example: vouchd clone destroy --instance /srv/clone --remove
    """
    if remove and not isinstance(instance, Folder):
        raise ConfigError("--remove takes a folder away, which another host cannot reach", hint="run it on its host")
    if isinstance(instance, Folder) and read_settings(instance.layout).certsystem.url:
        account = (server.master_bind, server.password())
        left = leave_master(instance.layout, account, server.master_trust, start_tls=server.master_starttls)
        if lifecycle.status(instance.layout).pid is not None:
            lifecycle.stop(instance.layout)
        gone = str(instance.layout.root) if remove else None
        if remove:
            instance.remove()
        output.record({"left": left, "removed": gone}, json_output=json_output)
        return
    body = {"master": master, "fingerprint": fingerprint, "force": force, "renew": renew}
    done = instance.call("cloning.destroy", body=body)
    for note in done["notes"]:
        output.note(note)
    removed = None
    if remove and isinstance(instance, Folder):
        instance.remove()
        removed = str(instance.layout.root)
    output.record({"left": done["left"], "removed": removed}, json_output=json_output)


@app.command()
@reachable
def promote(
    instance: Instance,
    member: Annotated[
        str, typer.Argument(metavar="[MEMBER]", help="On the master: the member to hand the role to, HOST:PORT.")
    ] = "",
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert", envvar="VOUCHD_CERT", metavar="FILE", help="On a clone: an administrator's certificate."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="VOUCHD_KEY", metavar="FILE", help="Its key, PEM, if elsewhere.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Password of the key: first line (0600).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="The master is gone for good, or does not answer.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Move the role of the master: to this clone, or from this master to another member.

    On a clone it takes an administrator's own certificate, and is done on its folder; with --force, where the master is
    gone for good, also with --url: no key is sent to anybody. The others believe nobody who promotes itself. The master
    before becomes a clone, now or when it comes back. A clone of a Certificate System, whose master is gone for good,
    follows it no more (--force).

    Example: vouchd clone promote --instance /srv/clone --cert alice.pem --key alice.key
    """
    if not member and isinstance(instance, Folder) and (url := read_settings(instance.layout).certsystem.url):
        if not force:
            raise ConfigError(
                f"this clone would follow {url} no more, and what its CAs publish there would not come here",
                hint="have the CAs publish here first, see docs/set/cloning.md; then: --force",
            )
        write_values(instance.layout, {"vouchd.certsystem.url": "", "vouchd.certsystem.responder": ""})
        if lifecycle.status(instance.layout).pid is not None:
            lifecycle.restart(instance.layout, manager_command(instance.layout))
        output.record({"master": str(instance.layout.root), "term": None, "was": url}, json_output=json_output)
        return
    domain = instance.call("members.list")
    was = domain["this_instance"] != domain["master"]
    if isinstance(instance, Folder) and _is_own(member, domain["this_instance"]):
        promoted = _promote_itself(instance.layout, cert, key, password_file, force=force)
        done = {"master": promoted.id, "term": promoted.term, "changes": was}
    elif force and _is_own(member, domain["this_instance"]):
        done = _order_promotion(instance, cert, key, password_file)
    elif member:
        done = instance.call("cloning.promote", member)
    else:
        raise ConfigError("name the member that is to be the master", hint="vouchd clone promote HOST:PORT --url …")
    if not done["changes"]:
        output.effect(done["master"], ())
    output.record({"master": done["master"], "term": done["term"], "was": was}, json_output=json_output)


def _is_own(member: str, own: str | None) -> bool:
    """Whether that is this instance's own name, or none."""
    return not member or (own is not None and member in {own, own.rpartition(":")[0]})


def _promote_itself(
    layout: Layout, cert: Path | None, key: Path | None, password_file: Path | None, *, force: bool
) -> Member:
    """Make the instance in this folder the master."""
    with wiring.services(layout) as services:
        administrator = _administrator(layout, services.settings, cert, key, password_file)

        def switch(promoted: Member) -> None:
            write_values(layout, roles.role_values(services.settings, promoted, rising=True))
            if lifecycle.status(layout).pid is not None:
                lifecycle.restart(layout, manager_command(layout))

        return roles.Promotion(services, administrator, switch, output.note, force=force).run()


def _order_promotion(instance: Instance, cert: Path | None, key: Path | None, password_file: Path | None) -> Any:
    """Have a clone elsewhere take the place of a master that is gone: what it says is signed here, with that key."""
    if cert is None:
        raise ConfigError(
            "taking the master's place takes an administrator's own certificate", hint="--cert FILE --key FILE"
        )
    password = read_password(password_file, key or cert) if password_file else ""
    own = roles.Administrator.with_key(KeyFiles(key or cert, cert), password).key
    standing = instance.call("forced_promotion.preview")
    for one in standing["lost"]:
        output.note(f"may be lost: {one}")
    signature = own.sign(base64.b64decode(standing["statement"]))
    order = {
        "term": standing["term"],
        "certificate": base64.b64encode(own.signer.certificate_der).decode(),
        "signature": base64.b64encode(signature).decode(),
    }
    return instance.call("forced_promotion.claim", body=order)


def _administrator(
    layout: Layout, settings: Settings, cert: Path | None, key: Path | None, password_file: Path | None
) -> roles.Administrator:
    """Who orders it: by the certificate that is named, or the one that was made with this instance."""
    if cert is None and settings.admin.installed:
        return roles.Administrator.with_key(settings.admin, read_passwords(layout.password_conf).get(INTERNAL, ""))
    if cert is None:
        raise ConfigError(
            "moving the role to a clone takes an administrator's own certificate",
            hint="--cert FILE --key FILE; or on the master: vouchd clone promote HOST:PORT",
        )
    password = read_password(password_file, key or cert) if password_file else ""
    return roles.Administrator.with_key(KeyFiles(key or cert, cert), password)
