"""The options of `vouchd create`, apart from what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
NicknameOption = Annotated[str, typer.Option("--nickname", metavar="NAME", help="The signer's name in CS.cfg.")]

HostOption = Annotated[str | None, typer.Option("--host", help="Address of the OCSP and agent ports; default 0.0.0.0.")]
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
WorkersOption = Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Default: one per core.")]
