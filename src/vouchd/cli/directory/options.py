"""The options that name the directory server of a new instance, alike for `create` and `clone create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DirectoryOption = Annotated[
    str, typer.Option("--directory", metavar="URL", help="Its own directory server: ldap[s]://HOST:PORT/SUFFIX.")
]
StartTLSOption = Annotated[bool, typer.Option("--starttls", help="StartTLS on the plain port of the directory.")]
TrustOption = Annotated[
    Path | None, typer.Option("--directory-trust", "--trust", metavar="FILE", help="CAs of the directory server, PEM.")
]
ClientCertificateOption = Annotated[
    str,
    typer.Option(
        "--client-certificate", metavar="NAME", help="The instance binds with this system certificate of its own."
    ),
]
ManagerPasswordOption = Annotated[
    Path | None, typer.Option("--directory-password-file", metavar="FILE", help="The manager's password (0600).")
]
