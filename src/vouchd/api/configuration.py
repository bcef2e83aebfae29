"""The settings of the instance: read, try a change, make it."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, convert

from vouchd.api.model import about
from vouchd.api.operation import Call, Operation
from vouchd.instance import configuration
from vouchd.service.permission import Action

MAX_CHANGES = 200
Revision = Annotated[str, Meta(examples=["9f2c6a01b1d04e1b8f4f2b3c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80"])]
Changes = Annotated[
    dict[Annotated[str, Meta(max_length=300)], Annotated[str, Meta(max_length=4096)] | None],
    Meta(min_length=1, max_length=MAX_CHANGES),
    about("Text by key of CS.cfg; null takes the line out.", {"vouchd.request.maxCertIDs": "10"}),
]


class Setting(Struct, frozen=True):
    """A key of CS.cfg."""

    key: Annotated[str, about("The key.", "vouchd.request.maxCertIDs")]
    value: Annotated[str, about("The text that holds now.", "10")]
    default: Annotated[str, about("The text that would hold without a line.", "100")]
    set: Annotated[bool, about("Whether CS.cfg has a line for it.")]
    accepts: Annotated[str, about("Which values it takes.", "1 to 1000")]
    about: Annotated[str, about("What it means.", "CertIDs of one request, at most.")]
    inert: Annotated[bool, about("Whether it is the Certificate System's own and does nothing here.")]


class Configuration(Struct, frozen=True):
    """All settings."""

    revision: Annotated[Revision, about("Names this state of the file.")]
    pending_restart: Annotated[bool, about("Whether the instance runs with another state of it.")]
    settings: Annotated[list[Setting], about("The settings.")]
    warnings: Annotated[list[str], about("What is doubtful in the file.", [])]


class SettingsToTry(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to check."""

    changes: Changes


class SettingsToChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to make."""

    changes: Changes
    revision: Annotated[
        Annotated[Revision, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")] | UnsetType,
        about("The revision that was read: another change in between is not overwritten."),
    ] = UNSET
    dry_run: Annotated[bool, about("Show the difference and write nothing.")] = False


class ConfigurationChange(Struct, frozen=True):
    """What a change does to CS.cfg."""

    before: Annotated[Revision, about("The revision of the file before.")]
    after: Annotated[Revision, about("The revision of the file that the change makes.")]
    diff: Annotated[str, about("The difference of the two, as diff -u shows it.", "+vouchd.request.maxCertIDs=10\n")]
    warnings: Annotated[list[str], about("What is doubtful in the file that the change makes.", [])]
    applied: Annotated[bool, about("Whether it was written.")]


def _read(call: Call) -> Configuration:
    now = call.services.configuration.read(call.caller)
    return Configuration(
        revision=now.revision,
        pending_restart=now.pending,
        settings=[convert(one, Setting, from_attributes=True) for one in now.settings],
        warnings=list(now.warnings),
    )


def _validate(call: Call) -> ConfigurationChange:
    wanted: SettingsToTry = call.body
    return _shape(call.services.configuration.change(wanted.changes, call.caller, dry_run=True))


def _change(call: Call) -> ConfigurationChange:
    wanted: SettingsToChange = call.body
    return _shape(
        call.services.configuration.change(
            wanted.changes, call.caller, expected=wanted.revision or "", dry_run=wanted.dry_run
        )
    )


def _shape(change: configuration.ConfigurationChange) -> ConfigurationChange:
    return convert(change, ConfigurationChange, from_attributes=True)


OPERATIONS = (
    Operation(
        "GET",
        "/configuration",
        "configuration.get",
        "All settings with their defaults; what looks like a secret is hidden",
        Action.READ_CONFIGURATION,
        _read,
        Configuration,
    ),
    Operation(
        "POST",
        "/configuration/validate",
        "configuration.validate",
        "Check changes as a start would, and show what they do to CS.cfg; nothing is changed",
        Action.READ_CONFIGURATION,
        _validate,
        ConfigurationChange,
        body=SettingsToTry,
    ),
    Operation(
        "PATCH",
        "/configuration",
        "configuration.change",
        "Change CS.cfg, all or nothing; the instance goes by it after its next restart",
        Action.CHANGE_CONFIGURATION,
        _change,
        ConfigurationChange,
        body=SettingsToChange,
        refusals={409: "CS.cfg is not at the revision that was given; nothing was changed."},
    ),
)
