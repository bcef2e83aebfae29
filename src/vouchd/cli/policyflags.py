"""The options of `vouchd ca set`; what their values mean is in policyoptions.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FLAG = "true|false|default"

NotFoundAsGoodOption = Annotated[
    str | None, typer.Option(metavar=_FLAG, help="A serial that no CRL lists is good, else unknown.")
]
IncludeNextUpdateOption = Annotated[str | None, typer.Option(metavar=_FLAG, help="Answers tell the CRL's nextUpdate.")]
ExpiredCRLOption = Annotated[
    str | None, typer.Option(metavar="tryLater|unknown|serve|default", help="Answer from a CRL past its nextUpdate.")
]
InvalidityDateOption = Annotated[
    bool | None, typer.Option("--invalidity-date/--no-invalidity-date", help="Tell the CRL entry's invalidityDate.")
]
CRLReferenceOption = Annotated[
    bool | None, typer.Option("--crl-reference/--no-crl-reference", help="Tell which CRL (RFC 6960 4.4.2).")
]
ArchiveCutoffOption = Annotated[
    str | None, typer.Option(metavar="SECONDS|default", help="Retention behind archiveCutoff (RFC 6960 4.4.4).")
]
ExtendedRevokeOption = Annotated[
    bool | None,
    typer.Option("--extended-revoke/--no-extended-revoke", help="A serial never issued is revoked (RFC 6960 4.4.8)."),
]
SignerOption = Annotated[str | None, typer.Option(metavar="NICKNAME|default", help="The signer for this CA.")]
CRLIssuerOption = Annotated[
    list[Path] | None, typer.Option(metavar="FILE|default", help="Issuer of indirect CRLs; repeatable.")
]
ExpectedScopeOption = Annotated[
    list[str] | None, typer.Option(metavar="ID|default", help="Scopes that together cover all serials; repeatable.")
]
QuarantinePercentOption = Annotated[
    str | None, typer.Option(metavar="N|default", help="Hold back a CRL that gains or loses more entries.")
]
IssuedSerialsOption = Annotated[
    str | None, typer.Option(metavar="FILE|default", help="The serials issued: no other one is good; - is stdin.")
]
DecimalOption = Annotated[bool, typer.Option("--decimal", help="The issued serials are decimal, not hexadecimal.")]
