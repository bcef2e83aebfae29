"""Users, groups and access rules as a Certificate System keeps them in its directory, read and taken over.

Who comes with a client certificate is let in here with the same one. Passwords stay there, and so do groups that have
no meaning here. The access rules are held against the rights here: who may do what there, and here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vouchd.core.facts import Caller, Group
from vouchd.directory.connection import Connection
from vouchd.errors import AlreadyExists, VouchdError
from vouchd.migration.findings import Finding
from vouchd.service.permission import RIGHTS, Action
from vouchd.service.users import Users

_PEOPLE = "ou=people"
_GROUPS = "ou=groups"
_ACLS = "cn=aclResources"
_ENABLED = "1"
_DATABASE_USER = "pkidbuser"
# A member of this group is another instance of the set here, and no person.
_OF_PERSONS = frozenset(Group) - {Group.OCSP_ADMINISTRATORS}
_RULE = re.compile(r"\s*(allow|deny)\s*\(([^)]*)\)\s*(.*?)\s*", re.DOTALL)
_WHO = re.compile(r'(group|user|ipaddress)\s*(!?=)\s*"?([^"|&]*?)"?\s*(?:\|\||&&|$)')
EVERYBODY = "anybody"
_OURS = frozenset(Group)
# (resource, right) -> the acts here that it stands for.
ACTS: dict[tuple[str, str], tuple[Action, ...]] = {
    ("certServer.ocsp.cas", "list"): (Action.LIST_AUTHORITIES,),
    ("certServer.ocsp.ca", "add"): (Action.ADD_AUTHORITY, Action.REMOVE_AUTHORITY),
    ("certServer.ocsp.crl", "add"): (Action.ADD_CRL,),
    ("certServer.ocsp.certificate", "validate"): (Action.CHECK_STATUS,),
    ("certServer.ocsp.info", "read"): (Action.READ_STATISTICS,),
    ("certServer.ocsp.configuration", "read"): (Action.READ_CONFIGURATION,),
    ("certServer.ocsp.configuration", "modify"): (Action.CHANGE_CONFIGURATION,),
    ("certServer.general.configuration", "read"): (Action.READ_CONFIGURATION,),
    ("certServer.general.configuration", "modify"): (Action.CHANGE_CONFIGURATION,),
    ("certServer.log.content.signedAudit", "read"): (Action.READ_AUDIT,),
    ("certServer.ocsp.selftests", "read"): (Action.LIST_SELFTESTS,),
    ("certServer.ocsp.selftests", "execute"): (Action.RUN_SELFTESTS,),
    ("certServer.ocsp.users", "execute"): (Action.ADD_USER, Action.CHANGE_USER, Action.REMOVE_USER),
    ("certServer.ocsp.groups", "execute"): (Action.CHANGE_USER,),
    ("certServer.ocsp.group", "read"): (Action.LIST_USERS,),
    ("certServer.ocsp.group", "modify"): (Action.CHANGE_USER,),
    ("certServer.securitydomain.domainxml", "read"): (Action.READ_DOMAIN,),
    ("certServer.securitydomain.domainxml", "modify"): (Action.CHANGE_DOMAIN,),
    ("certServer.clone.configuration", "read"): (Action.JOIN_DOMAIN,),
}
OCSP_SERVICE = ("certServer.ee.request.ocsp", "submit")


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


@dataclass(frozen=True, slots=True)
class RightDifference:
    """One right: who has it there, who has it here, and what that comes to."""

    resource: str
    right: str
    theirs: str
    ours: str
    difference: str


@dataclass(frozen=True, slots=True)
class _Holders:
    """Who has a right there; `others` are users and addresses, which have no meaning here."""

    groups: frozenset[str]
    everybody: bool
    others: tuple[str, ...]

    @property
    def words(self) -> str:
        named = [*sorted(self.groups), *self.others]
        return ", ".join([EVERYBODY, *named] if self.everybody else named) or "nobody"


def differences(acls: Iterable[str]) -> tuple[RightDifference, ...]:
    """Every right of which the rules there and the rights here say something else, by resource."""
    return tuple(one for acl in acls for one in _of_resource(acl))


def _of_resource(acl: str) -> Iterator[RightDifference]:
    resource, _, rest = acl.partition(":")
    named, _, rules = rest.partition(":")
    for right in filter(None, (part.strip() for part in named.split(","))):
        holders = _holders(right, rules)
        acts = ACTS.get((resource, right))
        if (resource, right) == OCSP_SERVICE:
            if any(other.partition("=")[2] not in {".*", ""} for other in holders.others):
                yield RightDifference(
                    resource, right, holders.words, EVERYBODY, "who may ask is not decided here, but by a firewall"
                )
        elif acts is not None:
            yield from _compared(resource, right, holders, acts)


def _compared(resource: str, right: str, holders: _Holders, acts: tuple[Action, ...]) -> Iterator[RightDifference]:
    ours = frozenset(str(group) for act in acts for group in RIGHTS[act])
    theirs = holders.groups & _OURS
    more, less = sorted(ours - theirs), sorted(theirs - ours)
    if holders.everybody:
        more, less = [], [EVERYBODY]
    words = [f"{', '.join(more)} may here"] if more else []
    words += [f"{', '.join(less)} may not here"] if less else []
    if holders.others:
        words.append("a rule by user or address has no counterpart here")
    if words:
        yield RightDifference(resource, right, holders.words, ", ".join(sorted(ours)), "; ".join(words))


def _holders(right: str, rules: str) -> _Holders:
    """Who is allowed that right and not denied it. A rule ends with `;`, the last one with `:` and a description."""
    groups: set[str] = set()
    denied: set[str] = set()
    everybody, others = False, []
    for text in re.split(r";|:(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*$)", rules):
        rule = _RULE.fullmatch(text)
        if rule is None or right not in {part.strip() for part in rule[2].split(",")}:
            continue
        for kind, operator, name in _WHO.findall(rule[3]):
            who = name.strip()
            if kind == "group" and operator == "=":
                (groups if rule[1] == "allow" else denied).add(who)
            elif kind == "user" and who == EVERYBODY and operator == "=":
                everybody = everybody or rule[1] == "allow"
            else:
                others.append(f"{'' if rule[1] == 'allow' else 'not '}{kind}{operator}{who}")
    return _Holders(frozenset(groups - denied), everybody, tuple(others))
