"""The settings of the instance: read, try a change, make it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, TEXT, Schema, array, record, reference, text
from vouchd.instance.configuration import ConfigurationChange
from vouchd.service.permission import Action

MAX_CHANGES = 200
_CHANGES: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "null"], "maxLength": 4096},
    "minProperties": 1,
    "maxProperties": MAX_CHANGES,
    "description": "Text by key of CS.cfg; null takes the line out.",
}
_REVISION = text("The revision that was read.", low=64, high=64, pattern="^[0-9a-f]{64}$")
SCHEMAS: dict[str, Schema] = {
    "Setting": record(
        {
            "key": TEXT,
            "value": TEXT,
            "default": TEXT,
            "set": BOOLEAN,
            "accepts": TEXT,
            "about": TEXT,
            "inert": BOOLEAN,
        }
    ),
    "Configuration": record(
        {
            "revision": TEXT,
            "pending_restart": BOOLEAN,
            "settings": array(reference("Setting")),
            "warnings": array(TEXT),
        }
    ),
    "SettingsToTry": record({"changes": _CHANGES}),
    "SettingsToChange": record({"changes": _CHANGES}, {"revision": _REVISION, "dry_run": BOOLEAN}),
    "ConfigurationChange": record(
        {"before": TEXT, "after": TEXT, "diff": TEXT, "warnings": array(TEXT), "applied": BOOLEAN}
    ),
}


def _read(call: Call) -> dict[str, Any]:
    configuration = call.services.configuration.read(call.caller)
    return {
        "revision": configuration.revision,
        "pending_restart": configuration.pending,
        "settings": [asdict(setting) for setting in configuration.settings],
        "warnings": list(configuration.warnings),
    }


def _validate(call: Call) -> dict[str, Any]:
    return _shape(call.services.configuration.change(call.body["changes"], call.caller, dry_run=True))


def _change(call: Call) -> dict[str, Any]:
    body = call.body
    return _shape(
        call.services.configuration.change(
            body["changes"], call.caller, expected=body.get("revision", ""), dry_run=body.get("dry_run", False)
        )
    )


def _shape(change: ConfigurationChange) -> dict[str, Any]:
    return {
        "before": change.before,
        "after": change.after,
        "diff": change.diff,
        "warnings": list(change.warnings),
        "applied": change.applied,
    }


_DONE = reference("ConfigurationChange")
OPERATIONS = (
    Operation(
        "GET",
        "/configuration",
        "configuration.get",
        "All settings with their defaults; what looks like a secret is hidden",
        Action.READ_CONFIGURATION,
        _read,
        reference("Configuration"),
    ),
    Operation(
        "POST",
        "/configuration/validate",
        "configuration.validate",
        "Check changes as a start would, and show what they do to CS.cfg; nothing is changed",
        Action.READ_CONFIGURATION,
        _validate,
        _DONE,
        body=reference("SettingsToTry"),
    ),
    Operation(
        "PATCH",
        "/configuration",
        "configuration.change",
        "Change CS.cfg, all or nothing; the instance goes by it after its next restart",
        Action.CHANGE_CONFIGURATION,
        _change,
        _DONE,
        body=reference("SettingsToChange"),
        refusals={409: "CS.cfg is not at the revision that was given; nothing was changed."},
    ),
)
