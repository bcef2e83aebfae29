"""The instance's keys taken out: for a spare, or for a clone."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vouchd.api.model import about
from vouchd.api.operation import Call, Operation
from vouchd.service.permission import Action

MAX_NAMES = 100
Password = Annotated[
    str,
    Meta(min_length=1, max_length=1000),
    about("The password that the keys are put under; it is kept nowhere.", "correct horse battery staple"),
]
KeyName = Annotated[str, Meta(min_length=1, max_length=200, examples=["ocspSigningCert"])]
PKCS12 = Annotated[bytes, about("The PKCS #12 file (DER), base64.", "TUlJSg==")]


class Backup(Struct, frozen=True, forbid_unknown_fields=True):
    """Which keys to take out."""

    password: Password
    names: Annotated[
        list[KeyName],
        Meta(max_length=MAX_NAMES),
        about("Their names; none: all but those of the TLS server and the administrator."),
    ] = []


class KeyFile(Struct, frozen=True):
    """Keys with their chains, each under its name."""

    pkcs12: PKCS12
    keys: Annotated[list[KeyName], about("The names of the keys in it.")]
    missing: Annotated[list[KeyName], about("The names of those that are not: their certificate has not come yet.", [])]
    on_tokens: Annotated[list[KeyName], about("The names of those that are not: a token has them, for good.", [])]


def _backup(call: Call) -> KeyFile:
    wanted: Backup = call.body
    done = call.services.keys.export(wanted.password, call.caller, wanted.names)
    return KeyFile(
        pkcs12=done.pkcs12, keys=list(done.names), missing=list(done.missing), on_tokens=list(done.on_tokens)
    )


OPERATIONS = (
    Operation(
        "POST",
        "/backup",
        "keys.backup",
        "Take keys out of the instance, with their chains, in one PKCS #12 file under a password",
        Action.EXPORT_KEYS,
        _backup,
        KeyFile,
        body=Backup,
        refusals={404: "There is no certificate of one of these names."},
    ),
)
