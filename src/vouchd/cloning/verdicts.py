"""The last comparison of this instance with the other members: a file that who compares writes and all else reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vouchd.core.records import known_fields
from vouchd.errors import StoreUnavailable
from vouchd.files import read_file, replace_file

IDENTICAL, DIFFERENT, NO_ANSWER = "identical", "different", "no answer"
LIST = "list"  # the level of a difference in List Certificate Authorities
# Fields that have other names in JSON, which is for good.
_JSON_NAMES = {"ours": "here", "theirs": "there", "questions": "asked", "examples": "told"}
_FIELD_NAMES = {json_name: name for name, json_name in _JSON_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: `level` is list, status, ResponseData or bytes, the first at which the two are not alike.

    `what` is the CA or CRL in the list, or the certificate: `revoked 0x1f of Lab CA`; `way` is how it was asked for:
    GET, POST, POST with a nonce.
    """

    level: str
    what: str
    way: str
    field: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        way = f" ({self.way})" if self.way else ""
        return f"{self.level}: {self.what}{way}: {self.field} is {self.ours} here, {self.theirs} there"

    def record(self) -> dict[str, str]:
        """As JSON has it; see read_verification."""
        return _renamed(asdict(self), _JSON_NAMES)


@dataclass(frozen=True, slots=True)
class VerifiedMember:
    """How far one other member was like this one: of `questions` so many answers were alike at each level.

    `bytes_asked` are those that can be the same bytes: the rest is signed anew each time. `differences` counts all of
    them, `examples` are the first. `expected` are habits of another program that explain what else differs. `error`
    tells why the list or some answers could not be compared: it did not answer.
    """

    id: str
    error: str = ""
    questions: int = 0
    status: int = 0
    response_data: int = 0
    bytes: int = 0
    bytes_asked: int = 0
    differences: int = 0
    examples: tuple[Difference, ...] = ()
    expected: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether it answered and nothing was different."""
        return not self.error and not self.differences

    @property
    def state(self) -> str:
        """IDENTICAL, DIFFERENT or NO_ANSWER; what differs counts for more than what was not answered."""
        return IDENTICAL if self.identical else DIFFERENT if self.differences else NO_ANSWER

    def record(self) -> dict[str, Any]:
        """As JSON has it; see read_verification."""
        return _renamed(asdict(self) | {"examples": [one.record() for one in self.examples]}, _JSON_NAMES)


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison with all other members at POSIX time `at`."""

    at: int
    members: tuple[VerifiedMember, ...]

    @property
    def identical(self) -> bool:
        """Whether all of them are."""
        return all(member.identical for member in self.members)


def write_verification(path: Path, verification: Verification) -> None:
    """Keep it in place of the one before; a reader sees a whole file or none. Raises: StoreUnavailable."""
    record = {"at": verification.at, "members": [member.record() for member in verification.members]}
    replace_file(path, json.dumps(record).encode())


def read_verification(path: Path) -> Verification | None:
    """The last one, None when there is none that can be read."""
    try:
        return verification_of(json.loads(read_file(path)))
    except (OSError, StoreUnavailable, ValueError, KeyError, TypeError):
        return None


def verification_of(record: Mapping[str, Any]) -> Verification:
    """The verification of a record. Raises: KeyError, TypeError, ValueError when it is none."""
    return Verification(int(record["at"]), tuple(_member(member) for member in record["members"]))


def _member(record: dict[str, Any]) -> VerifiedMember:
    values = _renamed(record, _FIELD_NAMES)
    examples = (_renamed(one, _FIELD_NAMES) for one in values.pop("examples"))
    differences = tuple(Difference(**known_fields(Difference, one)) for one in examples)
    expected = tuple(map(str, values.pop("expected", ())))
    return VerifiedMember(**known_fields(VerifiedMember, values), examples=differences, expected=expected)


def _renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in record.items()}
