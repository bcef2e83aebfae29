"""The options of a new instance, in groups: its ports, the token of its key, its directory server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from vouchd.cli.options import (
    DirectoryPasswordOption,
    DirectoryStartTLSOption,
    DirectoryTrustOption,
    ManagerOption,
    ModuleOption,
    PINCommandOption,
    PINFileOption,
)
from vouchd.directory.dse import ROOT_DN


@dataclass(frozen=True, slots=True)
class PortOptions:
    """Where a new instance listens, and by how many processes; what is not named is as CS.cfg has it by default."""

    listen: Annotated[
        str | None, typer.Option("--listen", metavar="ADDRESS", help="Of the OCSP and agent ports; default 0.0.0.0.")
    ] = None
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="TCP port of OCSP; default 8080.")] = None
    health_port: Annotated[
        int | None,
        typer.Option("--health-port", min=0, max=65535, help="TCP port of health and metrics; default 8081."),
    ] = None
    agent_port: Annotated[
        int | None, typer.Option("--agent-port", min=0, max=65535, help="TCP port of agents (TLS); default 8443.")
    ] = None
    hostname: Annotated[
        list[str] | None,
        typer.Option("--hostname", metavar="NAME", help="Of the agent port's certificate; repeatable."),
    ] = None
    workers: Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Default: one per core.")] = None

    def lines(self) -> dict[str, str]:
        """The lines of CS.cfg that they say."""
        values = {
            "vouchd.ee.host": self.listen,
            "vouchd.ee.port": self.port,
            "vouchd.health.port": self.health_port,
            "vouchd.ee.workers": self.workers,
            "vouchd.agent.host": self.listen,
            "vouchd.agent.port": self.agent_port,
        }
        return {key: str(value) for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """How a token (PKCS #11) is reached."""

    module: ModuleOption = None
    pin_file: PINFileOption = None
    pin_command: PINCommandOption = ""


@dataclass(frozen=True, slots=True)
class OwnDirectoryOptions:
    """The directory server of a new instance; none without a URL."""

    directory: Annotated[
        str, typer.Option("--directory", metavar="URL", help="Its own directory server: ldap[s]://HOST:PORT/SUFFIX.")
    ] = ""
    starttls: DirectoryStartTLSOption = False
    trust: DirectoryTrustOption = None
    manager: ManagerOption = ROOT_DN
    manager_password_file: DirectoryPasswordOption = None
