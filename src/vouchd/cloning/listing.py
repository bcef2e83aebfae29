"""List Certificate Authorities as plain values, so that the lists of two members can be compared field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vouchd.core import records
from vouchd.core.records import rfc3339
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState, expired
from vouchd.pkix.scope import COMPLETE_SCOPE

Value = str | int | float | None
Row = Mapping[str, Value]
Listing = Mapping[str, Row]

_LABEL, _SCOPE = "label", "scope"
SETTINGS = "shared settings"
_SHORT = 8


class ListDifference(NamedTuple):
    """One field that differs in the rows of `what`; of a row that is on one side only the field is `listed`."""

    what: str
    field: str
    ours: str
    theirs: str


def listing(state: ServingState, at: int, settings: Row | None = None) -> dict[str, dict[str, Value]]:
    """What is served at POSIX time `at`: a row for each CA by its id, and one for each CRL by that and its scope.

    `settings` are the settings in effect that all members share; they are a row of their own.
    """
    rows: dict[str, dict[str, Value]] = {} if settings is None else {SETTINGS: dict(settings)}
    for served in state.authorities:
        rows[served.authority.id] = _authority(served)
        for point in served.points:
            rows[f"{served.authority.id} {point.epoch.issuing_point.scope_id}"] = _crl(served, point, at)
    return rows


def list_differences(ours: Listing, theirs: Listing) -> Iterator[ListDifference]:
    """What is different, in the order of the rows; settings that only one side tells of are not compared."""
    for key in sorted({*ours, *theirs}):
        one, other = ours.get(key), theirs.get(key)
        if key == SETTINGS:
            yield from _setting_differences(one or {}, other or {})
            continue
        if one is None or other is None:
            what = _named(one or other or {})
            yield ListDifference(what, "listed", "no" if one is None else "yes", "no" if other is None else "yes")
            continue
        for field in dict.fromkeys((*one, *other)):
            if one.get(field) != other.get(field):
                yield ListDifference(_named(one), field, _text(one.get(field)), _text(other.get(field)))


def _setting_differences(ours: Row, theirs: Row) -> Iterator[ListDifference]:
    if ours and theirs:
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                yield ListDifference("shared settings", name, _text(ours.get(name)), _text(theirs.get(name)))


def read_listing(value: object) -> Listing:
    """The listing in a JSON value. Raises: ValueError when it is none."""
    if not isinstance(value, dict) or not all(isinstance(row, dict) for row in value.values()):
        raise ValueError("not a list of CAs")
    if not all(isinstance(cell, Value) for row in value.values() for cell in row.values()):
        raise ValueError("not a row of a list of CAs")
    return value


def _authority(served: ServingAuthority) -> dict[str, Value]:
    authority = served.authority
    state = "behind" if served.behind else "answered" if served.points else "no CRL"
    policy = records.policy_record(authority.policy)
    return {
        _LABEL: authority.label,
        "certificate": hashlib.sha256(authority.certificate_der).hexdigest(),
        "state": state,
        **{f"policy {name}": _plain(value) for name, value in policy.items()},
    }


def _crl(served: ServingAuthority, point: ServingPoint, at: int) -> dict[str, Value]:
    epoch = point.epoch
    return {
        _LABEL: served.authority.label,
        _SCOPE: epoch.issuing_point.scope_id,
        "CRL number": epoch.newest.crl_number,
        "thisUpdate": rfc3339(epoch.this_update),
        "nextUpdate": None if epoch.next_update is None else rfc3339(epoch.next_update),
        "accepted at": rfc3339(epoch.accepted_at),
        "entries": len(point.index),
        "state": "expired" if expired((point,), at) else "fresh",
        "CRL": epoch.base.sha256,
        "delta CRL": epoch.delta.sha256 if epoch.delta else None,
    }


def _text(value: Value) -> str:
    return "absent" if value is None else str(value)


def _plain(value: object) -> Value:
    """The value itself where it is one; of certificates and lists a hash."""
    if isinstance(value, Value):
        return value
    return hashlib.sha256(records.to_json({"": value}).encode()).hexdigest() if value else None


def _named(row: Row) -> str:
    label, scope = row.get(_LABEL), row.get(_SCOPE)
    if scope is None:
        return f"CA {label}"
    return f"CRL of {label}" if scope == COMPLETE_SCOPE else f"CRL {str(scope)[:_SHORT]} of {label}"
