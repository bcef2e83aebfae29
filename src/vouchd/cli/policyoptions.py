"""What `vouchd ca set` takes for a CA's own policy; `default` takes a setting of its own away again."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy
from vouchd.errors import ConfigError
from vouchd.signing.files import read_certificates

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The options as given; None: not given, that field stays as it is."""

    not_found_as_good: str | None = None
    include_next_update: str | None = None
    expired_crl: str | None = None
    invalidity_date: bool | None = None
    crl_reference: bool | None = None
    archive_cutoff_seconds: str | None = None
    extended_revoke: bool | None = None
    signer: str | None = None
    crl_issuers: list[Path] | None = None
    expected_scopes: list[str] | None = None
    quarantine_percent: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no option was given."""
        return all(not self._given(field.name) for field in fields(self))

    def _given(self, name: str) -> bool:
        return getattr(self, name) not in (None, [])

    def applied_to(self, policy: AuthorityPolicy) -> AuthorityPolicy:
        """The policy with this change. Raises: ConfigError naming the option, SigningError."""
        return replace(policy, **self._changed())

    def as_json(self) -> dict[str, Any]:
        """The change as the REST API takes it. Raises: likewise."""
        changed = self._changed()
        if "crl_issuers" in changed:
            changed["crl_issuers"] = [base64.b64encode(der).decode() for der in changed["crl_issuers"]]
        return changed

    def _changed(self) -> dict[str, Any]:
        """The fields that were given, with their new values."""
        names = [field.name for field in fields(self) if self._given(field.name)]
        return {name: _READERS.get(name, _as_it_is)(name, getattr(self, name)) for name in names}


def _as_it_is(_: str, value: object) -> object:
    return value


def _flag(name: str, text: str) -> bool | None:
    if text not in {"true", "false", DEFAULT}:
        raise _wrong(name, f"true, false or {DEFAULT}")
    return None if text == DEFAULT else text == "true"


def _expired_crl(name: str, text: str) -> ExpiredCRLPolicy | None:
    if text == DEFAULT:
        return None
    try:
        return ExpiredCRLPolicy(text)
    except ValueError:
        raise _wrong(name, ", ".join([*ExpiredCRLPolicy, DEFAULT])) from None


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


def _nickname(_: str, text: str) -> str | None:
    return None if text == DEFAULT else text


def _scopes(_: str, scopes: list[str]) -> tuple[str, ...]:
    return () if scopes == [DEFAULT] else tuple(scopes)


def _certificates(_: str, paths: list[Path]) -> tuple[bytes, ...]:
    if paths == [Path(DEFAULT)]:
        return ()
    return tuple(found.public_bytes(Encoding.DER) for path in paths for found in read_certificates(path))


def _wrong(name: str, right: str) -> ConfigError:
    option = name.removesuffix("_seconds").removesuffix("s").replace("_", "-")
    return ConfigError(f"--{option} takes {right}")


_READERS: dict[str, Any] = {
    "not_found_as_good": _flag,
    "include_next_update": _flag,
    "expired_crl": _expired_crl,
    "archive_cutoff_seconds": _seconds,
    "signer": _nickname,
    "crl_issuers": _certificates,
    "expected_scopes": _scopes,
    "quarantine_percent": _percent,
}
