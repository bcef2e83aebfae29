"""`vouchd create`: a new instance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.certificate_files import read_authorities
from vouchd.cli.directory.setup import DomainOption
from vouchd.cli.new_instance import OwnDirectoryOptions, PortOptions, TokenOptions
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password, spread
from vouchd.cloning.directory_move import NewDirectory
from vouchd.cloning.instance_creation import InstancePlan, NewInstance
from vouchd.directory.connection import server_of
from vouchd.errors import ConfigError
from vouchd.files import read_file
from vouchd.instance.certificates.issuing import host_names
from vouchd.instance.certificates.places import FIXED, pending_requests
from vouchd.instance.creation import DEFAULT_NICKNAME, csr_path, require_free
from vouchd.instance.new_signer import DEFAULT_SUBJECT, SignerSource
from vouchd.instance.unconfigured import make_unconfigured
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.signing.token_source import TokenSource, token_source
from vouchd.wiring import instance as wiring


@dataclass(frozen=True, slots=True)
class SignerOptions:
    """Where the signing key and its certificate come from, and the CAs to answer for."""

    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="DIR", help="Have our own CA in DIR certify a new key.")
    ] = None
    signer_key: Annotated[
        Path | None, typer.Option("--signer-key", metavar="FILE", help="An existing key, PEM or DER.")
    ] = None
    signer_cert: Annotated[
        Path | None, typer.Option("--signer-cert", metavar="FILE", help="Its certificate, PEM or DER.")
    ] = None
    chain: Annotated[
        Path | None, typer.Option("--chain", metavar="FILE", help="Certificates between it and the CA, PEM.")
    ] = None
    pkcs12: Annotated[
        Path | None, typer.Option("--pkcs12", metavar="FILE", help="Key and certificates in one PKCS #12 file.")
    ] = None
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Password of --signer-key or --pkcs12.")
    ] = None
    ca_cert: Annotated[
        list[Path] | None, typer.Option("--ca-cert", metavar="FILE", help="A CA to answer for; repeatable.")
    ] = None
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="Signature algorithm, such as SHA256withRSA, Ed25519.")
    ] = ""
    subject: Annotated[str, typer.Option("--subject", metavar="NAME", help="Of a new signing certificate.")] = (
        DEFAULT_SUBJECT
    )
    nickname: Annotated[str, typer.Option("--nickname", metavar="NAME", help="The signer's name in CS.cfg.")] = (
        DEFAULT_NICKNAME
    )

    def source(self, token: TokenSource | None) -> SignerSource:
        """The signer as they name it, or as it is on the token."""
        return SignerSource(
            self.ca,
            self.signer_key,
            self.signer_cert,
            self.chain,
            self.pkcs12,
            self.password_file,
            read_password,
            self.algorithm,
            self.subject,
            self.nickname,
            token,
        )

    def leaves_all_to_the_wizard(self) -> bool:
        """Whether they name nothing of what the wizard asks for."""
        files = (self.ca, self.signer_key, self.signer_cert, self.chain, self.pkcs12, self.password_file)
        return not (any(files) or self.ca_cert or self.algorithm)


TokenOption = Annotated[
    str, typer.Option("--token", metavar="LABEL", help="The key is on this token, by --signer-cert, or is made there.")
]
ExtractableOption = Annotated[
    bool,
    typer.Option("--extractable", help="A key made on the token may be wrapped, for a backup by its maker's means."),
]
UnconfiguredOption = Annotated[
    bool, typer.Option("--unconfigured", help="Make an instance that serves nothing but its set-up wizard.")
]
SetupPortOption = Annotated[
    int | None,
    typer.Option("--setup-port", min=0, max=65535, help="With --unconfigured: the wizard's (TLS); default 11445."),
]


@spread
def create(
    instance: InstanceOption = DEFAULT_INSTANCE,
    *,
    signer: SignerOptions,
    token: TokenOption = "",
    reached: TokenOptions,
    extractable: ExtractableOption = False,
    ports: PortOptions,
    own: OwnDirectoryOptions,
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
        if token or own.directory or not signer.leaves_all_to_the_wizard():
            raise ConfigError("--unconfigured leaves keys and directory to the wizard", hint="leave the others out")
        _unconfigured(Layout(instance.absolute()), ports, setup_port, json_output)
        return
    source = signer.source(
        token_source(token, reached.module, reached.pin_file, reached.pin_command, extractable=extractable)
    )
    source.require_one()
    require_free(instance)  # before a password is asked for in vain
    plan = InstancePlan(
        instance,
        source,
        tuple(certificate for path in signer.ca_cert or () for certificate in read_authorities(str(path))),
        ports.lines(),
        host_names(ports.hostname or (), ports.listen),
        signer.ca,
        _directory(own, domain),
    )
    _show(wiring.instance_creation(output.warn, output.note).make(plan), signer.ca, json_output)


def _unconfigured(layout: Layout, ports: PortOptions, port: int | None, json_output: bool) -> None:
    """Make an instance that serves its wizard, or open the wizard again of one that was made so, with another PIN."""
    from vouchd.cli.setup import show_wizard  # noqa: PLC0415  it brings the wizard along
    from vouchd.setup.fields import section_of  # noqa: PLC0415
    from vouchd.setup.questionnaire import Answers  # noqa: PLC0415
    from vouchd.setup.serving import DEFAULT_PORT, Place, keep_place  # noqa: PLC0415
    from vouchd.setup.state import KeptAnswers  # noqa: PLC0415
    from vouchd.wiring.setup import start_wizard, stop_wizard  # noqa: PLC0415

    names = host_names(ports.hostname or (), ports.listen)
    if make_unconfigured(layout):
        here = {name: getattr(ports, name) for name in ("listen", "port", "agent_port", "health_port", "workers")}
        known = {name: value for name, value in here.items() if value is not None}
        KeptAnswers(layout).keep(section_of(Answers(), "subsystem", known), frozenset())
    stop_wizard(layout)
    address = ports.listen or "0.0.0.0"  # noqa: S104  as the agent port's default
    first = [ports.listen] if ports.listen is not None and ports.listen in names else []
    place = Place(address, DEFAULT_PORT if port is None else port, tuple(dict.fromkeys((*first, *names))))
    keep_place(layout, place)
    show_wizard(layout, start_wizard(layout), json_output)


def _directory(own: OwnDirectoryOptions, domain: str) -> NewDirectory | None:
    """The directory server that the options name; None without one."""
    if not own.directory:
        if own.starttls or own.trust or own.manager_password_file:
            raise ConfigError("which directory server is not said", hint="name it: --directory ldap://HOST:389/SUFFIX")
        return None
    server = server_of(own.directory, start_tls=own.starttls, replica_id=1)
    password = read_password(own.manager_password_file, Path(own.manager))
    return NewDirectory(DirectorySettings(server, "", own.trust), own.manager, password, domain)


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
