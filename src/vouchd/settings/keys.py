"""How a key of CS.cfg is declared: once, beside the field that it fills.

From the declarations come the parser's table, the reader (`settings.reading`), the reference page, the warnings and
what the members of a set share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vouchd.settings.kinds import ANYTHING, FILE, Kind

_DECLARED = "declared"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One key: how its value is read, what stands for an absent one, its unit, and what it means.

    `shared`: every member of a set has the same value. `required` is what a line of it would hold, where there is no
    sense in an absent one. `inert` keys are accepted and do nothing.
    """

    name: str
    kind: Kind
    default: object
    about: str
    unit: str = ""
    shared: bool = False
    required: str = ""
    inert: bool = False

    @property
    def accepts(self) -> str:
        """What may stand there, with its unit: `integer, 1 to 3600 seconds`."""
        return f"{self.kind.about} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Composed:
    """A value made of several keys: a class and the key of each of its fields."""

    cls: type
    keys: Mapping[str, KnownKey]


@dataclass(frozen=True, slots=True)
class Part:
    """A value whose class declares its own keys; read as a whole, or by a rule of its own when not `plain`."""

    cls: type
    plain: bool = True


def key(
    name: str,
    kind: Kind,
    default: object,
    about: str,
    *,
    unit: str = "",
    shared: bool = False,
    required: str = "",
) -> Any:
    """A field that the key `name` fills; a FILE becomes a path, an empty one None."""
    known = KnownKey(name, kind, default, about, unit, shared, required)
    value: object = default
    if kind is FILE:
        value = Path(str(default)) if default else None
    return field(default=MISSING if required else value, metadata={_DECLARED: known})


def composed(cls: type, **keys: KnownKey) -> Any:
    """A field of a class that declares no keys, because it is not only ours or is filled more than once."""
    return field(metadata={_DECLARED: Composed(cls, MappingProxyType(keys))})


def part(cls: type, *, required: bool = False) -> Any:
    """A field of a class that declares its keys."""
    if required:
        return field(metadata={_DECLARED: Part(cls)})
    return field(default_factory=cls, metadata={_DECLARED: Part(cls)})


def parts(cls: type, default: object) -> Any:
    """A field that holds some or none of a class that declares its keys; which, a rule of its own says."""
    return field(default=default, metadata={_DECLARED: Part(cls, plain=False)})


def inert(name: str, about: str) -> KnownKey:
    """A key that is accepted and has no effect."""
    return KnownKey(name, ANYTHING, "", about, inert=True)


def declarations(cls: type) -> Iterator[tuple[str, KnownKey | Composed | Part]]:
    """The fields of `cls` that keys fill, each with its declaration."""
    for one in fields(cls):
        if _DECLARED in one.metadata:
            yield one.name, one.metadata[_DECLARED]


def keys_of(cls: type) -> Iterator[KnownKey]:
    """Every key that `cls` and its parts declare, in the order of the fields."""
    for _, declared in declarations(cls):
        if isinstance(declared, KnownKey):
            yield declared
        elif isinstance(declared, Composed):
            yield from declared.keys.values()
        else:
            yield from keys_of(declared.cls)
