"""Users, groups and access rules as a Certificate System keeps them in its directory, read and taken over.

Who comes with a client certificate is let in here with the same one. Passwords stay there, and so do groups that have
no meaning here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vouchd.core.facts import Caller, Group
from vouchd.directory.connection import Connection
from vouchd.errors import AlreadyExists, VouchdError
from vouchd.migration.findings import Finding
from vouchd.service.users import Users

_PEOPLE = "ou=people"
_GROUPS = "ou=groups"
_ACLS = "cn=aclResources"
_ENABLED = "1"
_DATABASE_USER = "pkidbuser"
# A member of this group is another instance of the set here, and no person.
_OF_PERSONS = frozenset(Group) - {Group.OCSP_ADMINISTRATORS}


@dataclass(frozen=True, slots=True)
class TheirUser:
    """One entry below ou=people, with the names of its groups."""

    id: str
    full_name: str
    groups: tuple[str, ...]
    certificates: tuple[bytes, ...]
    enabled: bool
    has_password: bool


def read_users(connection: Connection, suffix: str) -> tuple[TheirUser, ...]:
    """All users, by id. Raises: NotFound, StoreUnavailable."""
    members: dict[str, list[str]] = {}
    for group in connection.search(
        f"{_GROUPS},{suffix}", scope="one", query="(objectClass=groupOfUniqueNames)", attributes=["cn", "uniqueMember"]
    ):
        for member in group.all("uniqueMember"):
            members.setdefault(_folded(member.decode(errors="replace")), []).append(group.text("cn"))
    users = (
        TheirUser(
            id=entry.text("uid"),
            full_name=entry.text("cn") or entry.text("uid"),
            groups=tuple(sorted(members.get(_folded(entry.dn), ()))),
            certificates=entry.all("userCertificate"),
            enabled=entry.text("userstate", _ENABLED) == _ENABLED,
            has_password=bool(entry.all("userPassword")),
        )
        for entry in connection.search(
            f"{_PEOPLE},{suffix}",
            scope="one",
            query="(uid=*)",
            attributes=["uid", "cn", "userCertificate", "userstate", "userPassword"],
        )
    )
    return tuple(sorted(users, key=lambda user: user.id))


def read_acls(connection: Connection, suffix: str) -> tuple[str, ...]:
    """The access rules, one a resource, as they are written there."""
    entry = connection.read(f"{_ACLS},{suffix}", ["resourceACLS"])
    return tuple(sorted(value.decode(errors="replace") for value in entry.all("resourceACLS"))) if entry else ()


def take_over(users: Users, theirs: TheirUser, caller: Caller) -> Iterator[Finding]:
    """Make the user here, and say what of it was taken over and what was not."""
    what = f"user {theirs.id}"
    if theirs.id == _DATABASE_USER:
        yield Finding.without_effect(what, "the Certificate System's account with its own directory")
        return
    if not theirs.certificates:
        yield Finding.impossible(
            what,
            "it comes with a password alone, and the agent port takes certificates",
            f"vouchd user add {theirs.id} --group GROUP --cert FILE",
        )
        return
    groups = [group for group in sorted(_OF_PERSONS) if group in theirs.groups]
    try:
        effect = users.add(
            theirs.id, caller, full_name=theirs.full_name, groups=groups, certificates=theirs.certificates
        )
        if not theirs.enabled:
            effect = users.change(theirs.id, caller, enabled=False)
    except AlreadyExists as error:
        yield Finding.refused(what, AlreadyExists(f"{error}", hint=error.hint))
        return
    except VouchdError as error:
        yield Finding.refused(what, error)
        return
    known = effect.subject
    roles = ", ".join(sorted(known.groups)) or "no group"
    count = len(known.certificates)
    state = "" if known.enabled else "; disabled, as there"
    yield Finding.taken(what, f"{roles}; {count} certificate{'s' if count > 1 else ''}{state}")
    if theirs.has_password:
        yield Finding.without_effect(f"password of {theirs.id}", "there is no login by password here")
    for name in theirs.groups:
        if name == Group.OCSP_ADMINISTRATORS:
            yield Finding.impossible(
                f"{what} in {name}",
                "its members are the other instances of a set here",
                f"vouchd user groups {theirs.id} --add domain-administrators",
            )
        elif name not in _OF_PERSONS:
            yield Finding.without_effect(f"{what} in {name}", "a group without rights here")


def _folded(dn: str) -> str:
    """A DN as it is compared: 389 DS writes ou=People and ou=people of one entry."""
    return ",".join(part.strip() for part in dn.lower().split(","))
