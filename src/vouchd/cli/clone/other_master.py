"""`vouchd clone create` where the master is a Certificate System's OCSP manager: its options, and what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from vouchd.cli import output
from vouchd.cli.new_instance import OwnDirectoryOptions
from vouchd.cli.options import read_password
from vouchd.cloning.adoption import OtherDirectory
from vouchd.cloning.steps import run_steps
from vouchd.directory.connection import server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.errors import ConfigError
from vouchd.migration.importing import ImportPlan
from vouchd.migration.master_cloning import MasterClonePlan, MasterCloning
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring
from vouchd.wiring.instance import check_instance

_OF = "Of a Certificate System:"


@dataclass(frozen=True, slots=True)
class MasterServerOptions:
    """How the directory server of the master is reached, as who may configure it."""

    master_starttls: Annotated[
        bool, typer.Option("--master-starttls", help=f"{_OF} StartTLS to its directory server.")
    ] = False
    master_trust: Annotated[
        Path | None, typer.Option("--master-trust", metavar="FILE", help=f"{_OF} CAs of its directory server, PEM.")
    ] = None
    master_bind: Annotated[
        str, typer.Option("--master-bind", metavar="DN", help=f"{_OF} who may configure its directory server.")
    ] = ROOT_DN
    master_password_file: Annotated[
        Path | None,
        typer.Option("--master-password-file", metavar="FILE", help=f"{_OF} the password of that DN (0600)."),
    ] = None

    def password(self) -> str:
        """Of that DN: of the file, or typed. Raises: ConfigError."""
        return read_password(self.master_password_file, Path(self.master_bind))


MasterConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help=f"{_OF} its CS.cfg.")]
ResponderOption = Annotated[
    str, typer.Option("--responder", metavar="URL", help=f"{_OF} its OCSP service; default: as its CS.cfg says.")
]
TrustedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-responder", metavar="SUBJECT", help=f"{_OF} a CA that need not have issued the signer; repeatable."
    ),
]


@dataclass(frozen=True, slots=True)
class OtherMaster:
    """The master: the URL of its directory server and how that is reached, its CS.cfg, its OCSP service, its CAs."""

    url: str
    server: MasterServerOptions
    config: Path | None
    responder: str
    trusted: tuple[str, ...]


def clone_master(
    layout: Layout,
    other: OtherMaster,
    own: OwnDirectoryOptions,
    keys: tuple[Path | None, Path | None],
    values: Mapping[str, str],
    ca: Path | None,
    *,
    start: bool,
) -> None:
    """Make the clone; `keys` are the PKCS #12 file and its password's. Raises: VouchdError."""
    pkcs12, password_file = keys
    if other.config is None or pkcs12 is None or not own.directory:
        raise ConfigError(
            "a clone of a Certificate System takes its CS.cfg, its keys and a directory server of its own",
            hint="--config CS.cfg --pkcs12 FILE --directory ldap://HOST:PORT/SUFFIX",
        )
    directory = OtherDirectory(
        server_of(other.url, start_tls=other.server.master_starttls),
        other.server.master_bind,
        other.server.password(),
        other.server.master_trust,
    )
    imported = ImportPlan(
        root=layout.root,
        config=other.config,
        pkcs12=pkcs12,
        pkcs12_password=read_password(password_file, pkcs12),
        directory=directory,
        trusted=other.trusted,
        values=values,
        hosts=(values["vouchd.domain.host"],),
        ca=ca,
    )
    suffix = "" if urlsplit(own.directory).path.strip("/") else directory.server.suffix
    server = server_of(own.directory, suffix=suffix, start_tls=own.starttls)
    plan = MasterClonePlan(
        imported,
        DirectorySettings(server, "", own.trust),
        (own.manager, read_password(own.manager_password_file, Path(own.manager))),
        other.responder,
        start,
    )
    cloning = MasterCloning(plan, wiring.services, check_instance, _unlike, output.note)
    run_steps(cloning.steps(), cloning.journal, output.note)


def _unlike(layout: Layout) -> tuple[str, ...]:
    """What the running clone does not answer or list as its master does."""
    with wiring.services(layout) as services:
        members = services.verifying.verify().members
    return tuple(word for one in members for word in (one.error, *map(str, one.examples)) if word)
