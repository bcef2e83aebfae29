"""The options that several verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InstanceOption = Annotated[
    Path,
    typer.Option(
        "--instance", "-i", envvar="VOUCHD_INSTANCE", metavar="DIR", help="The instance's folder.", show_default=True
    ),
]
CADirOption = Annotated[
    Path,
    typer.Option(
        "--ca", envvar="VOUCHD_CA", metavar="DIR", help="The certificate manager's folder.", show_default=True
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ScopeOption = Annotated[
    str, typer.Option("--scope", metavar="ID", help="Scope of a partitioned CRL, as `vouchd crl list` shows it.")
]

DEFAULT_INSTANCE = Path("./vouchd")
DEFAULT_CA = Path("./ca")
