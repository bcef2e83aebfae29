"""Users, their groups and certificates; and who the caller is."""

from __future__ import annotations

from typing import Any

from vouchd.api import shapes
from vouchd.api.operation import Access, Call, Operation
from vouchd.api.schema import BOOLEAN, TEXT, Schema, array, record, reference, text
from vouchd.core.facts import Group, User
from vouchd.errors import NotFound
from vouchd.service.permission import RIGHTS, Action
from vouchd.service.usercertificates import fingerprint
from vouchd.service.users import MAX_CERTIFICATES, MAX_NAME_CHARACTERS

_PEM = text("PEM, or base64 of DER", low=1, high=1 << 17)
_GROUPS: Schema = array({"type": "string", "enum": list(Group)}, high=len(Group))
SCHEMAS: dict[str, Schema] = {
    "User": record(
        {
            "id": TEXT,
            "full_name": TEXT,
            "groups": array(TEXT),
            "enabled": BOOLEAN,
            "certificates": array(reference("Certificate")),
        }
    ),
    "NewUser": record(
        {"id": text(low=1, high=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:-]*$")},
        {
            "full_name": text(high=MAX_NAME_CHARACTERS),
            "groups": _GROUPS,
            "certificates": array(_PEM, high=MAX_CERTIFICATES),
        },
    ),
    "UserChange": record({}, {"groups": _GROUPS, "enabled": BOOLEAN}, minProperties=1),
    "NewCertificate": record({"certificate": _PEM}),
    "Group": record({"name": TEXT, "rights": array(TEXT), "members": array(TEXT)}),
    "Account": record({"user": TEXT, "groups": array(TEXT), "rights": array(TEXT), "origin": TEXT}),
}


def _account(call: Call) -> dict[str, Any]:
    caller = call.caller
    rights = [action.value for action, groups in RIGHTS.items() if groups & caller.groups]
    return {"user": caller.name, "groups": sorted(caller.groups), "rights": rights, "origin": caller.origin}


def _all(call: Call) -> list[dict[str, Any]]:
    return [_shape(user) for user in call.services.users.users(call.caller)]


def _one(call: Call) -> dict[str, Any]:
    return _shape(call.services.users.find(call.path["user"], call.caller))


def _add(call: Call) -> dict[str, Any]:
    user = call.services.users.add(
        call.body["id"],
        call.caller,
        full_name=call.body.get("full_name", ""),
        groups=[Group(name) for name in call.body.get("groups", ())],
        certificates=[pem.encode() for pem in call.body.get("certificates", ())],
    )
    return _shape(user)


def _change(call: Call) -> dict[str, Any]:
    groups = [Group(name) for name in call.body["groups"]] if "groups" in call.body else None
    users, user_id = call.services.users, call.path["user"]
    return _shape(users.change(user_id, call.caller, groups=groups, enabled=call.body.get("enabled")))


def _remove(call: Call) -> None:
    call.services.users.remove(call.path["user"], call.caller)


def _add_certificate(call: Call) -> dict[str, Any]:
    certificate = call.body["certificate"].encode()
    return _shape(call.services.users.add_certificate(call.path["user"], certificate, call.caller))


def _remove_certificate(call: Call) -> None:
    call.services.users.remove_certificate(call.path["user"], call.path["certificate"], call.caller)


def _groups(call: Call) -> list[dict[str, Any]]:
    users = call.services.users.users(call.caller)
    return [_group(group, users) for group in Group]


def _one_group(call: Call) -> dict[str, Any]:
    users = call.services.users.users(call.caller)
    for group in Group:
        if group.value == call.path["name"]:
            return _group(group, users)
    raise NotFound("no such group", hint="GET /api/v1/groups lists those there are")


def _group(group: Group, users: tuple[User, ...]) -> dict[str, Any]:
    return {
        "name": group.value,
        "rights": [action.value for action, groups in RIGHTS.items() if group in groups],
        "members": [user.id for user in users if group in user.groups],
    }


def _shape(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "full_name": user.full_name,
        "groups": sorted(user.groups),
        "enabled": user.enabled,
        "certificates": [shapes.certificate(der, fingerprint(der)) for der in user.certificates],
    }


_USER = reference("User")
_TAKEN = {409: "It is there already, another change was quicker, or no enabled Administrator would be left."}
OPERATIONS = (
    Operation("GET", "/account", "users.account", "Who you are", Access.IDENTIFIED, _account, reference("Account")),
    Operation("GET", "/users", "users.list", "All users", Action.LIST_USERS, _all, array(_USER)),
    Operation(
        "POST",
        "/users",
        "users.add",
        "Make a user",
        Action.ADD_USER,
        _add,
        _USER,
        status=201,
        body=reference("NewUser"),
        refusals=_TAKEN,
    ),
    Operation("GET", "/users/{user}", "users.get", "One user", Action.LIST_USERS, _one, _USER),
    Operation(
        "PATCH",
        "/users/{user}",
        "users.change",
        "Set the groups of a user, refuse it or let it in again",
        Action.CHANGE_USER,
        _change,
        _USER,
        body=reference("UserChange"),
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
        _USER,
        status=201,
        body=reference("NewCertificate"),
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
    Operation("GET", "/groups", "users.groups", "All groups", Action.LIST_USERS, _groups, array(reference("Group"))),
    Operation("GET", "/groups/{name}", "users.group", "One group", Action.LIST_USERS, _one_group, reference("Group")),
)
