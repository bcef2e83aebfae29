"""`vouchd create`: a new instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.certificate_files import read_authorities
from vouchd.cli.directory.setup import DomainOption, ManagerOption
from vouchd.cli.options import (
    DEFAULT_INSTANCE,
    DirectoryPasswordOption,
    DirectoryStartTLSOption,
    DirectoryTrustOption,
    DirectoryURLOption,
    InstanceOption,
    JsonOption,
    ModuleOption,
    PINCommandOption,
    PINFileOption,
    read_password,
)
from vouchd.cloning.directory_move import NewDirectory
from vouchd.cloning.instance_creation import InstancePlan, NewInstance
from vouchd.directory.connection import server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.errors import ConfigError
from vouchd.files import read_file
from vouchd.instance.certificates.issuing import host_names
from vouchd.instance.certificates.places import FIXED, pending_requests
from vouchd.instance.creation import DEFAULT_NICKNAME, csr_path, require_free
from vouchd.instance.new_signer import DEFAULT_SUBJECT, SignerSource
from vouchd.instance.unconfigured import make_unconfigured
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.signing.token_source import token_source
from vouchd.wiring import instance as wiring

# The options of `vouchd create`, apart from what it does.

CAOption = Annotated[Path | None, typer.Option("--ca", metavar="DIR", help="Have our own CA in DIR certify a new key.")]
SignerKeyOption = Annotated[
    Path | None, typer.Option("--signer-key", metavar="FILE", help="An existing key, PEM or DER.")
]
SignerCertOption = Annotated[
    Path | None, typer.Option("--signer-cert", metavar="FILE", help="Its certificate, PEM or DER.")
]
ChainOption = Annotated[
    Path | None, typer.Option("--chain", metavar="FILE", help="Certificates between it and the CA, PEM.")
]
PKCS12Option = Annotated[
    Path | None, typer.Option("--pkcs12", metavar="FILE", help="Key and certificates in one PKCS #12 file.")
]
PasswordFileOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="Password of --signer-key or --pkcs12.")
]
CACertOption = Annotated[
    list[Path] | None, typer.Option("--ca-cert", metavar="FILE", help="A CA to answer for; repeatable.")
]
AlgorithmOption = Annotated[
    str, typer.Option("--algorithm", metavar="NAME", help="Signature algorithm, such as SHA256withRSA, Ed25519.")
]
SubjectOption = Annotated[str, typer.Option("--subject", metavar="NAME", help="Of a new signing certificate.")]
TokenOption = Annotated[
    str, typer.Option("--token", metavar="LABEL", help="The key is on this token, by --signer-cert, or is made there.")
]
ExtractableOption = Annotated[
    bool,
    typer.Option("--extractable", help="A key made on the token may be wrapped, for a backup by its maker's means."),
]
NicknameOption = Annotated[str, typer.Option("--nickname", metavar="NAME", help="The signer's name in CS.cfg.")]

ListenOption = Annotated[
    str | None, typer.Option("--listen", metavar="ADDRESS", help="Of the OCSP and agent ports; default 0.0.0.0.")
]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="TCP port of OCSP; default 8080.")]
HealthPortOption = Annotated[
    int | None, typer.Option("--health-port", min=0, max=65535, help="TCP port of health and metrics; default 8081.")
]
AgentPortOption = Annotated[
    int | None, typer.Option("--agent-port", min=0, max=65535, help="TCP port of agents (TLS); default 8443.")
]
HostnameOption = Annotated[
    list[str] | None, typer.Option("--hostname", metavar="NAME", help="Of the agent port's certificate; repeatable.")
]
UnconfiguredOption = Annotated[
    bool, typer.Option("--unconfigured", help="Make an instance that serves nothing but its set-up wizard.")
]
SetupPortOption = Annotated[
    int | None,
    typer.Option("--setup-port", min=0, max=65535, help="With --unconfigured: the wizard's (TLS); default 11445."),
]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Default: one per core.")]


def create(
    instance: InstanceOption = DEFAULT_INSTANCE,
    ca: CAOption = None,
    signer_key: SignerKeyOption = None,
    signer_cert: SignerCertOption = None,
    chain: ChainOption = None,
    pkcs12: PKCS12Option = None,
    password_file: PasswordFileOption = None,
    ca_cert: CACertOption = None,
    algorithm: AlgorithmOption = "",
    subject: SubjectOption = DEFAULT_SUBJECT,
    nickname: NicknameOption = DEFAULT_NICKNAME,
    token: TokenOption = "",
    module: ModuleOption = None,
    pin_file: PINFileOption = None,
    pin_command: PINCommandOption = "",
    extractable: ExtractableOption = False,
    listen: ListenOption = None,
    port: PortOption = None,
    health_port: HealthPortOption = None,
    agent_port: AgentPortOption = None,
    hostname: HostnameOption = None,
    workers: WorkersOption = None,
    directory: DirectoryURLOption = "",
    starttls: DirectoryStartTLSOption = False,
    directory_trust: DirectoryTrustOption = None,
    manager: ManagerOption = ROOT_DN,
    directory_password_file: DirectoryPasswordOption = None,
    domain: DomainOption = "vouchd",
    unconfigured: UnconfiguredOption = False,
    setup_port: SetupPortOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make a new instance: its folder with settings, keys, an empty store.

    With an existing signer: --signer-key and --signer-cert, or --pkcs12. With a new key: --ca, or nothing, which leaves
    a certificate request (CSR) for your CA; with --token both on an HSM. With --directory the facts are kept in that
    directory server. With --unconfigured nothing is made but a wizard, in a browser, that sets the instance up;
    --listen, --hostname and the ports are what it begins with.

    Example: vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem
    """
    if unconfigured:
        if any((ca, signer_key, signer_cert, chain, pkcs12, password_file, ca_cert, algorithm, token, directory)):
            raise ConfigError("--unconfigured leaves keys and directory to the wizard", hint="leave the others out")
        ports = {"port": port, "agent_port": agent_port, "health_port": health_port}
        here = {"listen": listen, **ports, "workers": workers}
        _unconfigured(Layout(instance.absolute()), host_names(hostname or (), listen), here, setup_port, json_output)
        return
    source = SignerSource(
        ca,
        signer_key,
        signer_cert,
        chain,
        pkcs12,
        password_file,
        read_password,
        algorithm,
        subject,
        nickname,
        token_source(token, module, pin_file, pin_command, extractable=extractable),
    )
    source.require_one()
    require_free(instance)  # before a password is asked for in vain
    values = {
        "vouchd.ee.host": listen,
        "vouchd.ee.port": port,
        "vouchd.health.port": health_port,
        "vouchd.ee.workers": workers,
        "vouchd.agent.host": listen,
        "vouchd.agent.port": agent_port,
    }
    plan = InstancePlan(
        instance,
        source,
        tuple(certificate for path in ca_cert or () for certificate in read_authorities(str(path))),
        {key: str(value) for key, value in values.items() if value is not None},
        host_names(hostname or (), listen),
        ca,
        _directory(directory, starttls, directory_trust, manager, directory_password_file, domain),
    )
    _show(wiring.instance_creation(output.warn, output.note).make(plan), ca, json_output)


def _unconfigured(
    layout: Layout, names: Sequence[str], here: Mapping[str, object], port: int | None, json_output: bool
) -> None:
    """Make an instance that serves its wizard, or open the wizard again of one that was made so, with another PIN."""
    from vouchd.cli.setup import show_wizard  # noqa: PLC0415  it brings the wizard along
    from vouchd.setup.questionnaire import Answers, section_of  # noqa: PLC0415
    from vouchd.setup.serving import DEFAULT_PORT, Place, keep_place  # noqa: PLC0415
    from vouchd.setup.state import KeptAnswers  # noqa: PLC0415
    from vouchd.wiring.setup import start_wizard, stop_wizard  # noqa: PLC0415

    if make_unconfigured(layout):
        known = {name: value for name, value in here.items() if value is not None}
        KeptAnswers(layout).keep(section_of(Answers(), "subsystem", known), frozenset())
    stop_wizard(layout)
    address = str(here["listen"] or "0.0.0.0")  # noqa: S104  as the agent port's default
    first = [str(here["listen"])] if here["listen"] in names else []
    place = Place(address, DEFAULT_PORT if port is None else port, tuple(dict.fromkeys((*first, *names))))
    keep_place(layout, place)
    show_wizard(layout, start_wizard(layout), json_output)


def _directory(
    url: str, starttls: bool, trust: Path | None, manager: str, password_file: Path | None, domain: str
) -> NewDirectory | None:
    """The directory server that the options name; None without one."""
    if not url:
        if starttls or trust or password_file:
            raise ConfigError("which directory server is not said", hint="name it: --directory ldap://HOST:389/SUFFIX")
        return None
    server = server_of(url, start_tls=starttls, replica_id=1)
    password = read_password(password_file, Path(manager))
    return NewDirectory(DirectorySettings(server, "", trust), manager, password, domain)


def _show(made: NewInstance, ca: Path | None, json_output: bool) -> None:
    layout, signer, authorities = made.layout, made.signer, made.authorities
    request = None if signer.certificate else csr_path(layout, signer.nickname)
    left = [path for name in FIXED for path in pending_requests(layout.alias, name)]
    output.record(
        {
            "instance": str(layout.root),
            "settings": str(layout.cs_cfg),
            "signer": signer.nickname,
            "algorithm": signer.algorithm,
            "certificate": signer.certificate.subject.rfc4514_string() if signer.certificate else None,
            "request": str(request) if request else None,
            "CAs": ", ".join(authority.subject.rfc4514_string() for authority in authorities) or None,
            "administrator": None if left else str(layout.admin_pkcs12),
        },
        json_output=json_output,
    )
    if request is not None:
        if not json_output:
            output.say(read_file(request).decode("ascii").rstrip("\n"))
        output.hint(f"have the CA certify {request}, then: vouchd certs install {signer.nickname} FILE")
    if not authorities:
        output.hint("name the CA that it answers for: vouchd authority add CA.pem")
    if ca is not None:
        output.hint(f"bring its CRL: vouchd ca publish --ca {ca} --to instance:{layout.root}, then `vouchd start`")
    elif request is None and authorities:
        output.hint("add its CRL with `vouchd crl add FILE`, then `vouchd start`")
    if left:
        names = ", ".join(path.name for path in left)
        output.hint(f"the agent port is off until a CA has certified {names} in {layout.alias}: vouchd certs install")
    else:
        output.hint(
            f"import {layout.admin_pkcs12} into a browser for the agent pages; its password: {layout.admin_password}"
        )
