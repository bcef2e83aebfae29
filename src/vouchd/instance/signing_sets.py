"""The signers that the processes of an instance have loaded, and the word that says which of them sign.

The manager process writes the file at its start, before its workers read it: the signers of CS.cfg, and, where others
are to follow them, those. Both have a number. `SigningWord` is eight octets of a file that all processes have mapped:
what the manager writes there every one of them sees with its next look.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vouchd.errors import ConfigError
from vouchd.files import PRIVATE, read_file, replace_file
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.signing_keys import SignerSettings

_BYTES = 8
_MAX_BYTES = 64 << 20  # 10,000 signers take 2 MiB


@dataclass(frozen=True, slots=True)
class NamedSigners:
    """Which files sign, and which signer is the default."""

    signers: tuple[SignerSettings, ...]
    default: str

    @classmethod
    def of(cls, settings: Settings) -> NamedSigners:
        """Those of CS.cfg."""
        return cls(settings.signers, settings.default_signer)


class SigningWord:
    """The number of the signers that sign now; `path` is made with 0 where it is not there."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        if writable and not (path.exists() and path.stat().st_size == _BYTES):
            replace_file(path, bytes(_BYTES), PRIVATE)
        with path.open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), _BYTES, access=access)
        self.view = memoryview(self._map).cast("Q")

    @property
    def number(self) -> int:
        """What it says now."""
        return int(self.view[0])

    def say(self, number: int) -> None:
        """From now on every process signs with these."""
        self.view[0] = number


def write_sets(layout: Layout, sets: Mapping[int, NamedSigners]) -> None:
    """Write the file that the workers read at their start. Raises: StoreUnavailable."""
    record = {
        number: {"signers": [_fields(signer) for signer in one.signers], "default": one.default}
        for number, one in sets.items()
    }
    replace_file(layout.signing_sets, json.dumps(record, default=str).encode(), PRIVATE)


def read_sets(layout: Layout) -> dict[int, NamedSigners]:
    """The sets by number. Raises: ConfigError."""
    try:
        record = json.loads(read_file(layout.signing_sets, _MAX_BYTES, error=ConfigError))
        return {int(number): _named(one) for number, one in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{layout.signing_sets}: cannot be read", hint="the manager process writes it") from error


def _fields(signer: SignerSettings) -> dict[str, Any]:
    """Each as it is: `asdict` copies them, which takes a second of a start with ten thousand signers."""
    return {field: getattr(signer, field) for field in SignerSettings.__dataclass_fields__}


def _named(record: dict[str, Any]) -> NamedSigners:
    return NamedSigners(tuple(map(_signer, record["signers"])), record["default"])


def _signer(record: dict[str, Any]) -> SignerSettings:
    chain = record["chain_file"]
    return SignerSettings(
        nickname=record["nickname"],
        key_file=Path(record["key_file"]),
        certificate_file=Path(record["certificate_file"]),
        chain_file=Path(chain) if chain else None,
        algorithm=record["algorithm"],
    )
