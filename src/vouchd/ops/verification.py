"""The last comparison of this instance with the other members: a file that the command writes and the pages read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vouchd.errors import StoreUnavailable

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class VerifiedMember:
    """How far one other member was like this one: of `asked` answers so many were alike at each level.

    Of those with a nonce the bytes are not asked to be: `plain` were asked for without one.
    """

    id: str
    reachable: bool
    lists: tuple[str, ...] = ()  # differences in the lists of CAs and CRLs
    asked: int = 0
    plain: int = 0
    bytes: int = 0
    response_data: int = 0
    status: int = 0
    problems: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing was different."""
        return self.reachable and not self.lists and self.plain == self.bytes and self.asked == self.response_data


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison with all other members at POSIX time `at`."""

    at: int
    members: tuple[VerifiedMember, ...]


def write_verification(path: Path, found: Verification) -> None:
    """Keep it in place of the one before; a reader sees a whole file or none. Raises: StoreUnavailable."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(asdict(found)), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def read_verification(path: Path) -> Verification | None:
    """The last one, None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        return Verification(int(found["at"]), tuple(_member(member) for member in found["members"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _member(record: dict[str, Any]) -> VerifiedMember:
    names = {field.name for field in fields(VerifiedMember)}
    known = {name: value for name, value in record.items() if name in names}
    return VerifiedMember(**(known | {name: tuple(known[name]) for name in ("lists", "problems")}))
