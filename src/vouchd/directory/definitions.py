"""Definitions of a schema (RFC 4512 4.1) as a server has them, compared with those that are needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vouchd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AttributeType:
    """What values an attribute may have; an empty syntax is that of the type above it."""

    oid: str
    names: frozenset[str]
    syntax: str
    single_value: bool

    @classmethod
    def of(cls, text: str) -> AttributeType:
        """The definition in RFC 4512's words."""
        found = _schema().AttributeType(text)
        return cls(found.oid, _folded(found.names), found.syntax or "", bool(found.single_value))

    def holds(self, other: AttributeType) -> bool:
        """Values are of the same syntax, and as many."""
        return (not self.syntax or self.syntax == other.syntax) and (other.single_value or not self.single_value)

    def __str__(self) -> str:
        number = "single-valued" if self.single_value else "multi-valued"
        return f"{self.oid} {_list(self.names)}, {number}, syntax {self.syntax or 'of its superior'}"


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """Which attributes an entry must and may have; `kind` as the library numbers it."""

    oid: str
    names: frozenset[str]
    kind: int
    must: frozenset[str]
    may: frozenset[str]

    @classmethod
    def of(cls, text: str) -> ObjectClass:
        """The definition in RFC 4512's words."""
        found = _schema().ObjectClass(text)
        return cls(found.oid, _folded(found.names), found.kind, _folded(found.must), _folded(found.may))

    def holds(self, other: ObjectClass) -> bool:
        """Every entry of the other is one of this class too."""
        return self.kind == other.kind and self.must <= other.must and other.must | other.may <= self.must | self.may

    def __str__(self) -> str:
        return f"{self.oid} {_list(self.names)}, kind {self.kind}, MUST {_list(self.must)}, MAY {_list(self.may)}"


D = TypeVar("D", AttributeType, ObjectClass)


def lacking(kind: type[D], wanted: Iterable[str], there: Iterable[str]) -> Iterator[str]:
    """Those of `wanted` that a server with the definitions `there` has to be given: new ones, and wider ones of ours.

    A definition of the same name that holds what is wanted stays as it is, whoever made it. Raises: ConfigError when
    one does not and cannot be widened: data of another program may rest on it.
    """
    known = [kind.of(text) for text in there]
    by_name = {name: one for one in known for name in one.names}
    by_oid = {one.oid.lower(): one for one in known}
    for text in wanted:
        ours = kind.of(text)
        found = next((by_name[name] for name in ours.names if name in by_name), None)
        if found is None and ours.oid.lower() not in by_oid:
            yield text
        elif found is None or not _is_same(found, ours):
            raise _clash(ours, found or by_oid[ours.oid.lower()])
        elif not found.holds(ours):
            if found.oid != ours.oid or not ours.holds(found):
                raise _clash(ours, found)
            yield text


def _is_same(found: D, ours: D) -> bool:
    """Whether it is meant to be the same thing; of ours the Certificate System's have a word in place of a number."""
    return found.oid == ours.oid or not ours.oid[0].isdigit()


def _clash(ours: D, found: D) -> ConfigError:
    return ConfigError(
        f"the directory server's schema has another definition: {found}; needed is {ours}",
        hint="another program made it: use a directory server of its own, `vouchd directory create` makes one",
    )


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _folded(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _schema() -> Any:
    return importlib.import_module("ldap.schema")
