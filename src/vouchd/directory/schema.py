"""The schema and the containers of the status store in a directory.

Object classes and attributes of the Certificate System keep its names, identifiers and syntaxes, so that a directory
written by either is read by the other. What is missing there is in auxiliary classes of ours, below the arc that a
UUID of this project has (2.25, ITU-T X.667): records as JSON (core/records.py), opaque to the server.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from vouchd.directory.connection import Change, Connection
from vouchd.errors import AlreadyExists, ConfigError

# Definitions of a schema (RFC 4512 4.1) as a server has them, compared with those that are needed.


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
        definition = _schema().AttributeType(text)
        return cls(definition.oid, _folded(definition.names), definition.syntax or "", bool(definition.single_value))

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
        definition = _schema().ObjectClass(text)
        return cls(
            definition.oid,
            _folded(definition.names),
            definition.kind,
            _folded(definition.must),
            _folded(definition.may),
        )

    def holds(self, other: ObjectClass) -> bool:
        """Every entry of the other is one of this class too."""
        return self.kind == other.kind and self.must <= other.must and other.must | other.may <= self.must | self.may

    def __str__(self) -> str:
        return f"{self.oid} {_list(self.names)}, kind {self.kind}, MUST {_list(self.must)}, MAY {_list(self.may)}"


D = TypeVar("D", AttributeType, ObjectClass)


def lacking(kind: type[D], wanted: Iterable[str], existing: Iterable[str]) -> Iterator[str]:
    """Those of `wanted` that a server with the definitions `there` has to be given: new ones, and wider ones of ours.

    A definition of the same name that holds what is wanted stays as it is, whoever made it. Raises: ConfigError when
    one does not and cannot be widened: data of another program may rest on it.
    """
    known = [kind.of(text) for text in existing]
    by_name = {name: one for one in known for name in one.names}
    by_oid = {one.oid.lower(): one for one in known}
    for text in wanted:
        ours = kind.of(text)
        theirs = next((by_name[name] for name in ours.names if name in by_name), None)
        if theirs is None and ours.oid.lower() not in by_oid:
            yield text
        elif theirs is None or not _is_same(theirs, ours):
            raise _clash(ours, theirs or by_oid[ours.oid.lower()])
        elif not theirs.holds(ours):
            if theirs.oid != ours.oid or not ours.holds(theirs):
                raise _clash(ours, theirs)
            yield text


def _is_same(theirs: D, ours: D) -> bool:
    """Whether it is meant to be the same thing; of ours the Certificate System's have a word in place of a number."""
    return theirs.oid == ours.oid or not ours.oid[0].isdigit()


def _clash(ours: D, theirs: D) -> ConfigError:
    return ConfigError(
        f"the directory server's schema has another definition: {theirs}; needed is {ours}",
        hint="another program made it: use a directory server of its own, `vouchd directory create` makes one",
    )


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _folded(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _schema() -> Any:
    return importlib.import_module("ldap.schema")


AUTHORITY = "vouchdAuthority"
EPOCH = "vouchdEpoch"
STAMP = "vouchdStamp"  # of the last change: who changes the entry replaces the stamp it has read
QUARANTINED = "vouchdQuarantined"
HIGH_WATER = "vouchdHighWater"
USER = "vouchdUser"
MEMBER = "vouchdMember"
TOKEN = "vouchdToken"  # noqa: S105  the name of an attribute
KEYRING = "vouchdKeyring"
REMOVAL = "vouchdRemoval"
APPROVALS = "vouchdApprovals"
CHUNK = "vouchdChunk"
DOCUMENT_SIZE = "vouchdDocumentSize"

CHUNKS = "ou=chunks"
HIGH_WATERS = "ou=highWater"  # marks of authorities that were removed, and that they were
PEOPLE = "ou=people"
DOMAIN = "ou=Security Domain"
MEMBERS = f"cn=OCSPList,{DOMAIN}"

_ARC = "2.25.204868617822210647656310475951932742916"
_STRING = "1.3.6.1.4.1.1466.115.121.1.15"
_BINARY = "1.3.6.1.4.1.1466.115.121.1.5"
_OCTETS = "1.3.6.1.4.1.1466.115.121.1.40"
_INTEGER = "1.3.6.1.4.1.1466.115.121.1.27"
_BOOLEAN = "1.3.6.1.4.1.1466.115.121.1.7"


def _theirs(name: str, syntax: str, *, single: bool = False) -> str:
    return f"( {name}-oid NAME '{name}' SYNTAX {syntax}{' SINGLE-VALUE' if single else ''} X-ORIGIN 'user defined' )"


def _ours(number: int, name: str, syntax: str, *, single: bool = False) -> str:
    # Values are compared octet for octet: one of several is deleted by naming it whole.
    rule = "integerMatch" if syntax == _INTEGER else "octetStringMatch"
    only = " SINGLE-VALUE" if single else ""
    return f"( {_ARC}.1.{number} NAME '{name}' EQUALITY {rule} SYNTAX {syntax}{only} X-ORIGIN 'vouchd' )"


def _class(name: str, kind: str, must: Sequence[str], may: Sequence[str], *, number: int | None = None) -> str:
    identifier, origin = (f"{name}-oid", "user defined") if number is None else (f"{_ARC}.2.{number}", "vouchd")
    lists = "".join(f" {word} ( {' $ '.join(names)} )" for word, names in (("MUST", must), ("MAY", may)) if names)
    return f"( {identifier} NAME '{name}' SUP top {kind}{lists} X-ORIGIN '{origin}' )"


_CRL_ATTRIBUTES = (
    *("dateOfCreate", "dateOfModify", "crlNumber", "crlSize", "thisUpdate", "nextUpdate"),
    *("deltaNumber", "deltaSize", "firstUnsaved"),
)
_CACHES = ("crlCache", "revokedCerts", "unrevokedCerts", "expiredCerts")  # serialised Java: never read, never written
_STANDARD = ("certificateRevocationList", "deltaRevocationList", "cACertificate")  # of RFC 4523, in every server
_PORTS = ("SecureAgentPort", "SecureAdminPort", "SecureEEClientAuthPort", "UnSecurePort")
_OF_ISSUING_POINTS = (AUTHORITY, EPOCH, STAMP, QUARANTINED, HIGH_WATER, REMOVAL)
_PORTS_AND_ROLE = ("DomainManager", *_PORTS)

ATTRIBUTE_TYPES = (
    *(_theirs(name, _STRING) for name in _CRL_ATTRIBUTES),
    *(_theirs(name, _BINARY) for name in _CACHES),
    *(_theirs(name, _STRING, single=True) for name in ("Host", "SubsystemName")),
    *(_theirs(name, _BOOLEAN, single=True) for name in ("Clone", "DomainManager")),
    *(_theirs(name, _INTEGER, single=True) for name in ("SecurePort", *_PORTS)),
    _ours(1, AUTHORITY, _OCTETS, single=True),
    _ours(2, EPOCH, _OCTETS),
    _ours(3, STAMP, _OCTETS),
    _ours(4, QUARANTINED, _OCTETS),
    _ours(5, HIGH_WATER, _OCTETS),
    _ours(6, USER, _OCTETS),
    _ours(7, MEMBER, _OCTETS, single=True),
    _ours(8, TOKEN, _OCTETS),
    _ours(9, CHUNK, _OCTETS, single=True),
    _ours(10, DOCUMENT_SIZE, _INTEGER, single=True),
    _ours(11, KEYRING, _OCTETS),
    _ours(12, REMOVAL, _OCTETS),
    _ours(13, APPROVALS, _OCTETS),
)
OBJECT_CLASSES = (
    _class("crlIssuingPointRecord", "STRUCTURAL", ["cn"], [*_CRL_ATTRIBUTES, *_CACHES, *_STANDARD]),
    _class("pkiSecurityGroup", "STRUCTURAL", ["cn"], []),
    _class("pkiSubsystem", "STRUCTURAL", ["cn", "Host", "SecurePort", "SubsystemName", "Clone"], _PORTS_AND_ROLE),
    _class("vouchdIssuingPoint", "AUXILIARY", [], _OF_ISSUING_POINTS, number=1),
    _class("vouchdPeople", "AUXILIARY", [], [USER, STAMP, REMOVAL], number=2),
    _class("vouchdDomainMember", "AUXILIARY", [], [MEMBER, REMOVAL], number=3),
    _class("vouchdDomain", "AUXILIARY", [], [TOKEN, STAMP, KEYRING, APPROVALS], number=4),
    _class("vouchdDocumentChunk", "STRUCTURAL", ["cn"], [CHUNK, DOCUMENT_SIZE, "description"], number=5),
    _class("vouchdMark", "STRUCTURAL", ["cn"], [HIGH_WATER], number=6),
    _class("vouchdRemovals", "AUXILIARY", [], [REMOVAL], number=7),
)


def ensure_schema(connection: Connection) -> int:
    """Give the server's schema what it lacks, in one step and for good; how many definitions that were.

    Definitions of an older version of this program are widened. Raises: ConfigError when another program has one of
    these names for something else.
    """
    entry = connection.read("cn=schema", ["attributeTypes", "objectClasses"])
    types, classes = (
        [value.decode() for value in entry.all(name)] if entry else [] for name in ("attributeTypes", "objectClasses")
    )
    definitions = {
        "attributeTypes": tuple(lacking(AttributeType, ATTRIBUTE_TYPES, types)),
        "objectClasses": tuple(lacking(ObjectClass, OBJECT_CLASSES, classes)),
    }
    # A definition with an identifier that the server has already takes the place of that one.
    changes = [
        Change("add", name, tuple(text.encode() for text in texts)) for name, texts in definitions.items() if texts
    ]
    if changes:
        connection.modify("cn=schema", changes)
    return sum(map(len, definitions.values()))


def ensure_containers(connection: Connection, suffix: str, domain: str = "vouchd") -> None:
    """Add the containers of the store below the suffix entry, which must be there. `domain`: the domain's name."""
    for dn, classes, more in (
        (f"{CHUNKS},{suffix}", ["organizationalUnit"], {}),
        (f"{HIGH_WATERS},{suffix}", ["organizationalUnit", "vouchdRemovals"], {}),
        (f"{PEOPLE},{suffix}", ["organizationalUnit", "vouchdPeople"], {STAMP: ["0"]}),
        (f"{DOMAIN},{suffix}", ["organizationalUnit", "vouchdDomain"], {STAMP: ["0"], "description": [domain]}),
        (f"{MEMBERS},{suffix}", ["pkiSecurityGroup", "vouchdRemovals"], {}),
    ):
        kind, _, name = dn.split(",", 1)[0].partition("=")
        with suppress(AlreadyExists):
            connection.add(dn, {"objectClass": ["top", *classes], kind: [name], **more})
