"""`vouchd clone create` where the master is a Certificate System's OCSP manager: its options, and what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from vouchd.cli import output
from vouchd.cli.options import read_password
from vouchd.cloning.adoption import OtherDirectory
from vouchd.cloning.steps import run_steps
from vouchd.directory.connection import server_of
from vouchd.errors import ConfigError
from vouchd.migration.importing import ImportPlan
from vouchd.migration.master_cloning import MasterClonePlan, MasterCloning
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring
from vouchd.wiring.instance import check_instance

_OF = "Of a Certificate System:"
MasterConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help=f"{_OF} its CS.cfg.")]
MasterStartTLSOption = Annotated[
    bool, typer.Option("--master-starttls", help=f"{_OF} StartTLS to its directory server.")
]
MasterTrustOption = Annotated[
    Path | None, typer.Option("--master-trust", metavar="FILE", help=f"{_OF} CAs of its directory server, PEM.")
]
MasterBindOption = Annotated[
    str, typer.Option("--master-bind", metavar="DN", help=f"{_OF} who may configure its directory server.")
]
MasterPasswordOption = Annotated[
    Path | None, typer.Option("--master-password-file", metavar="FILE", help=f"{_OF} the password of that DN (0600).")
]
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
    """The master as the options name it."""

    url: str
    config: Path | None
    starttls: bool
    trust: Path | None
    bind: str
    password_file: Path | None
    responder: str


@dataclass(frozen=True, slots=True)
class OwnServer:
    """The clone's directory server as the options name it."""

    url: str
    starttls: bool
    trust: Path | None
    manager: str
    password_file: Path | None


def clone_master(
    layout: Layout,
    other: OtherMaster,
    own: OwnServer,
    keys: tuple[Path | None, Path | None],
    values: Mapping[str, str],
    trusted: tuple[str, ...],
    ca: Path | None,
    *,
    start: bool,
) -> None:
    """Make the clone; `keys` are the PKCS #12 file and its password's. Raises: VouchdError."""
    pkcs12, password_file = keys
    if other.config is None or pkcs12 is None or not own.url:
        raise ConfigError(
            "a clone of a Certificate System takes its CS.cfg, its keys and a directory server of its own",
            hint="--config CS.cfg --pkcs12 FILE --directory ldap://HOST:PORT/SUFFIX",
        )
    directory = OtherDirectory(
        server_of(other.url, start_tls=other.starttls),
        other.bind,
        read_password(other.password_file, Path(other.bind)),
        other.trust,
    )
    imported = ImportPlan(
        root=layout.root,
        config=other.config,
        pkcs12=pkcs12,
        pkcs12_password=read_password(password_file, pkcs12),
        directory=directory,
        trusted=trusted,
        values=values,
        hosts=(values["vouchd.domain.host"],),
        ca=ca,
    )
    suffix = "" if urlsplit(own.url).path.strip("/") else directory.server.suffix
    server = server_of(own.url, suffix=suffix, start_tls=own.starttls)
    plan = MasterClonePlan(
        imported,
        DirectorySettings(server, "", own.trust),
        (own.manager, read_password(own.password_file, Path(own.manager))),
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
