"""Users, their groups and certificates; and who the caller is."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from vouchd.api import shapes
from vouchd.api.model import Changes, Origin, SentPEM, about
from vouchd.api.operation import Access, Call, Operation
from vouchd.core import facts
from vouchd.errors import NotFound
from vouchd.service.effects import Effect
from vouchd.service.permission import RIGHTS, Action
from vouchd.service.usercertificates import fingerprint
from vouchd.service.users import MAX_CERTIFICATES, MAX_NAME_CHARACTERS

_RIGHTS = [Action.LIST_USERS.value]
UserId = Annotated[str, Meta(examples=["alice"])]
Groups = Annotated[list[facts.Group], Meta(max_length=len(facts.Group), examples=[["Auditors"]])]


class User(Struct, frozen=True):
    """A user of the instance."""

    id: Annotated[UserId, about("The user's id.")]
    full_name: Annotated[str, about("The user's name in full; may be empty.", "Alice Example")]
    groups: Annotated[list[str], about("The groups that the user is in.", ["Auditors"])]
    enabled: Annotated[bool, about("Whether the user is let in.")]
    certificates: Annotated[list[shapes.Certificate], about("The certificates that the user comes with.")]
    changes: Changes = UNSET


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """A user to make."""

    id: Annotated[
        UserId,
        Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:-]*$"),
        about("The user's id, for good."),
    ]
    full_name: Annotated[str, Meta(max_length=MAX_NAME_CHARACTERS), about("The user's name.", "Alice Example")] = ""
    groups: Annotated[Groups, about("The groups that it shall be in.")] = []
    certificates: Annotated[
        list[SentPEM],
        Meta(max_length=MAX_CERTIFICATES),
        about("The certificates that it shall come with, PEM or base64 of DER."),
    ] = []


class UserChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a user; all at once, or nothing."""

    groups: Annotated[Groups | UnsetType, about("All groups that the user shall be in.", ["Auditors"])] = UNSET
    enabled: Annotated[bool | UnsetType, about("Whether the user is to be let in.")] = UNSET

    def __post_init__(self) -> None:
        if self.groups is UNSET and self.enabled is UNSET:
            raise ValueError("Names no change")


class NewCertificate(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate for a user to come with."""

    certificate: Annotated[SentPEM, about("The certificate, PEM or base64 of DER.")]


class UserGroup(Struct, frozen=True):
    """A group of users."""

    name: Annotated[str, about("Its name.", "Auditors")]
    rights: Annotated[list[str], about("What it gives the right to.", _RIGHTS)]
    members: Annotated[list[UserId], about("The users that are in it.")]


class Account(Struct, frozen=True):
    """The caller."""

    user: Annotated[UserId, about("The id of the user that the certificate is of.")]
    groups: Annotated[list[str], about("The groups that it is in.", ["Auditors"])]
    rights: Annotated[list[str], about("What it may do.", _RIGHTS)]
    origin: Annotated[Origin, about("Whence it comes.")]


def _account(call: Call) -> Account:
    caller = call.caller
    rights = [action.value for action, groups in RIGHTS.items() if groups & caller.groups]
    return Account(user=caller.name, groups=sorted(caller.groups), rights=rights, origin=caller.origin)


def _all(call: Call) -> list[User]:
    return [shape(user) for user in call.services.users.users(call.caller)]


def _one(call: Call) -> User:
    return shape(call.services.users.find(call.path["user"], call.caller))


def _add(call: Call) -> User:
    new: NewUser = call.body
    certificates = [pem.encode() for pem in new.certificates]
    effect = call.services.users.add(
        new.id, call.caller, full_name=new.full_name, groups=new.groups, certificates=certificates
    )
    return _changed(effect)


def _change(call: Call) -> User:
    change: UserChange = call.body
    groups = None if change.groups is UNSET else change.groups
    enabled = None if change.enabled is UNSET else change.enabled
    return _changed(call.services.users.change(call.path["user"], call.caller, groups=groups, enabled=enabled))


def _remove(call: Call) -> None:
    call.services.users.remove(call.path["user"], call.caller)


def _add_certificate(call: Call) -> User:
    new: NewCertificate = call.body
    return _changed(call.services.users.add_certificate(call.path["user"], new.certificate.encode(), call.caller))


def _remove_certificate(call: Call) -> None:
    call.services.users.remove_certificate(call.path["user"], call.path["certificate"], call.caller)


def _groups(call: Call) -> list[UserGroup]:
    users = call.services.users.users(call.caller)
    return [_group(group, users) for group in facts.Group]


def _one_group(call: Call) -> UserGroup:
    users = call.services.users.users(call.caller)
    for group in facts.Group:
        if group.value == call.path["name"]:
            return _group(group, users)
    raise NotFound("no such group", hint="GET /api/v1/groups lists those there are")


def _group(group: facts.Group, users: tuple[facts.User, ...]) -> UserGroup:
    return UserGroup(
        name=group.value,
        rights=[action.value for action, groups in RIGHTS.items() if group in groups],
        members=[user.id for user in users if group in user.groups],
    )


def _changed(effect: Effect[facts.User]) -> User:
    return shape(effect.subject, list(effect.changes))


def shape(user: facts.User, changes: Changes = UNSET) -> User:
    """What is shown of a user."""
    return User(
        id=user.id,
        full_name=user.full_name,
        groups=sorted(user.groups),
        enabled=user.enabled,
        certificates=[shapes.certificate(der, fingerprint(der)) for der in user.certificates],
        changes=changes,
    )


_TAKEN = {409: "It is there already, another change was quicker, or no enabled Administrator would be left."}
OPERATIONS = (
    Operation("GET", "/account", "users.account", "Who you are", Access.IDENTIFIED, _account, Account),
    Operation("GET", "/users", "users.list", "All users", Action.LIST_USERS, _all, list[User]),
    Operation(
        "POST",
        "/users",
        "users.add",
        "Make a user",
        Action.ADD_USER,
        _add,
        User,
        status=201,
        body=NewUser,
        may_be_there=True,
        refusals=_TAKEN,
    ),
    Operation("GET", "/users/{user}", "users.get", "One user", Action.LIST_USERS, _one, User),
    Operation(
        "PATCH",
        "/users/{user}",
        "users.change",
        "Set the groups of a user, refuse it or let it in again",
        Action.CHANGE_USER,
        _change,
        User,
        body=UserChange,
        refusals=_TAKEN,
    ),
    Operation(
        "DELETE",
        "/users/{user}",
        "users.remove",
        "Remove a user, who is refused from the next request on",
        Action.REMOVE_USER,
        _remove,
        status=204,
        refusals=_TAKEN,
    ),
    Operation(
        "POST",
        "/users/{user}/certificates",
        "users.add_certificate",
        "Let a user in with this certificate too",
        Action.CHANGE_USER,
        _add_certificate,
        User,
        status=201,
        body=NewCertificate,
        may_be_there=True,
        refusals=_TAKEN,
    ),
    Operation(
        "DELETE",
        "/users/{user}/certificates/{certificate}",
        "users.remove_certificate",
        "Take a certificate away from a user",
        Action.CHANGE_USER,
        _remove_certificate,
        status=204,
        refusals=_TAKEN,
    ),
    Operation("GET", "/groups", "users.groups", "All groups", Action.LIST_USERS, _groups, list[UserGroup]),
    Operation("GET", "/groups/{name}", "users.group", "One group", Action.LIST_USERS, _one_group, UserGroup),
)
