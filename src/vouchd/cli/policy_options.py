"""How a CA is answered for, as `vouchd authority set` takes it and as the operation does.

`default` takes a setting of the CA's own away again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli.certificate_files import read_authorities
from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.errors import ConfigError

DEFAULT = "default"
_FLAG = "true|false|default"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The options as given; None: not given, that field stays as it is."""

    not_found_as_good: Annotated[
        str | None, typer.Option(metavar=_FLAG, help="A serial that no CRL lists is good, else unknown.")
    ] = None
    include_next_update: Annotated[
        str | None, typer.Option(metavar=_FLAG, help="Answers tell the CRL's nextUpdate.")
    ] = None
    reasons: Annotated[str | None, typer.Option(metavar=_FLAG, help="Answers tell why a certificate was revoked.")] = (
        None
    )
    expired_crl: Annotated[
        str | None,
        typer.Option(metavar="tryLater|unknown|serve|default", help="Answer from a CRL past its nextUpdate."),
    ] = None
    invalidity_date: Annotated[
        bool | None, typer.Option("--invalidity-date/--no-invalidity-date", help="Tell the CRL entry's invalidityDate.")
    ] = None
    crl_reference: Annotated[
        bool | None, typer.Option("--crl-reference/--no-crl-reference", help="Tell which CRL (RFC 6960 4.4.2).")
    ] = None
    archive_cutoff_seconds: Annotated[
        str | None,
        typer.Option(
            "--archive-cutoff", metavar="SECONDS|default", help="Retention behind archiveCutoff (RFC 6960 4.4.4)."
        ),
    ] = None
    extended_revoke: Annotated[
        bool | None,
        typer.Option(
            "--extended-revoke/--no-extended-revoke", help="A serial never issued is revoked (RFC 6960 4.4.8)."
        ),
    ] = None
    signer: Annotated[str | None, typer.Option(metavar="NICKNAME|default", help="The signer for this CA.")] = None
    trusted_responder: Annotated[
        bool | None,
        typer.Option(
            "--trusted-responder/--no-trusted-responder",
            help="The CA need not have issued its signer: clients trust that one by configuration.",
        ),
    ] = None
    crl_issuers: Annotated[
        list[Path] | None,
        typer.Option("--crl-issuer", metavar="FILE|default", help="Issuer of CRLs of this CA; repeatable."),
    ] = None
    expected_scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--expected-scope", metavar="ID|default", help="Scopes that together cover all serials; repeatable."
        ),
    ] = None
    named_point_covers_all: Annotated[
        bool | None,
        typer.Option(
            "--named-point-covers-all/--no-named-point-covers-all",
            help="The CA's only CRL names its distribution point, restricts nothing, and lists all.",
        ),
    ] = None
    expired_delta: Annotated[
        str | None,
        typer.Option(metavar="base|expired|default", help="Answer when the delta alone is past its nextUpdate."),
    ] = None
    live_times: Annotated[
        bool | None, typer.Option("--live-times/--no-live-times", help="producedAt is the start of the current slot.")
    ] = None
    live_this_update: Annotated[
        bool | None, typer.Option("--live-this-update/--no-live-this-update", help="With live times: thisUpdate, too.")
    ] = None
    slot_seconds: Annotated[
        str | None, typer.Option("--slot", metavar="SECONDS|default", help="How long a slot of live times is.")
    ] = None
    quarantine_percent: Annotated[
        str | None,
        typer.Option(metavar="N|default", help="Hold back a CRL that loses more entries, or is odd otherwise."),
    ] = None
    quarantine_entries: Annotated[
        str | None, typer.Option(metavar="N|default", help="Never hold back for so many entries or fewer.")
    ] = None
    quarantine_gains: Annotated[
        bool | None,
        typer.Option(
            "--quarantine-gains/--no-quarantine-gains", help="Hold back for entries gained as for those lost."
        ),
    ] = None

    def _is_named(self, name: str) -> bool:
        return getattr(self, name) not in (None, [])

    def as_json(self) -> dict[str, Any]:
        """The fields that were given, as the operation takes them.

        Raises: ConfigError naming the option, SigningError.
        """
        names = [field.name for field in fields(self) if self._is_named(field.name)]
        return {name: _READERS.get(name, _as_it_is)(name, getattr(self, name)) for name in names}


def _as_it_is(_: str, value: object) -> object:
    return value


def _flag(name: str, text: str) -> bool | None:
    if text not in {"true", "false", DEFAULT}:
        raise _wrong(name, f"true, false or {DEFAULT}")
    return None if text == DEFAULT else text == "true"


def _expired_crl(name: str, text: str) -> str | None:
    if text == DEFAULT:
        return None
    if text not in set(ExpiredCRLPolicy):
        raise _wrong(name, ", ".join([*ExpiredCRLPolicy, DEFAULT]))
    return text


def _seconds(name: str, text: str) -> int | None:
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise _wrong(name, f"a number of seconds, or {DEFAULT} for none")
    return int(text)


def _percent(name: str, text: str) -> float | None:
    if text == DEFAULT:
        return None
    try:
        return float(text)
    except ValueError:
        raise _wrong(name, f"a percentage, or {DEFAULT} for the instance's") from None


def _expired_delta(name: str, text: str) -> str:
    if text == DEFAULT:
        return str(AuthorityPolicy().expired_delta)
    if text not in set(ExpiredDeltaPolicy):
        raise _wrong(name, ", ".join([*ExpiredDeltaPolicy, DEFAULT]))
    return text


def _entries(name: str, text: str) -> int:
    if text == DEFAULT:
        return AuthorityPolicy().quarantine_entries
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise _wrong(name, f"a number, or {DEFAULT} for none")
    return int(text)


def _nickname(_: str, text: str) -> str | None:
    return None if text == DEFAULT else text


def _scopes(_: str, scopes: list[str]) -> list[str]:
    return [] if scopes == [DEFAULT] else scopes


def _certificates(_: str, paths: list[Path]) -> list[str]:
    if paths == [Path(DEFAULT)]:
        return []
    return [one.public_bytes(Encoding.PEM).decode() for path in paths for one in read_authorities(str(path))]


def _wrong(name: str, right: str) -> ConfigError:
    option = name.removesuffix("_seconds").replace("_", "-")
    return ConfigError(f"--{option} takes {right}")


_READERS: dict[str, Any] = {
    "not_found_as_good": _flag,
    "include_next_update": _flag,
    "reasons": _flag,
    "expired_crl": _expired_crl,
    "archive_cutoff_seconds": _seconds,
    "signer": _nickname,
    "crl_issuers": _certificates,
    "expected_scopes": _scopes,
    "expired_delta": _expired_delta,
    "slot_seconds": _seconds,
    "quarantine_percent": _percent,
    "quarantine_entries": _entries,
}
