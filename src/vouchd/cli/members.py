"""The members of a set as the verbs show them: what the REST API tells of them, how they came out of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vouchd.cli import output
from vouchd.cli.told import Row, posix
from vouchd.client.admin import AdminClient
from vouchd.cloning.verdicts import Verification, VerifiedMember, verification_of
from vouchd.errors import NotFound
from vouchd.instance.report import InstanceReport


def domain_fields(found: Mapping[str, Any]) -> Row:
    """What `vouchd domain info` tells."""
    me = next((one for one in found["members"] if one["id"] == found["this_instance"]), None)
    return {
        "domain": found["name"],
        "members": len(found["members"]),
        "master": found["master"],
        "this_instance": found["this_instance"],
        "role": me and me["role"],
        "fingerprint": me and me["fingerprint"],
        "facts_in": found["facts_in"],
    }


def domain_row(member: Mapping[str, Any]) -> Row:
    """One line of `vouchd domain members`."""
    directory = member["directory"] or {}
    return {
        "member": member["id"],
        "role": member["role"],
        "ee_port": member["ee_port"],
        "directory": directory.get("address"),
        "connection": directory.get("connection"),
        "replica_id": directory.get("replica_id"),
        "joined": member["joined_at"],
        "fingerprint": member["fingerprint"],
    }


def seen_rows(asked: AdminClient) -> list[Row]:
    """The other members as `vouchd status` shows them."""
    members = asked.get("members")["members"]
    try:
        compared = verification(asked.get("verification")) if len(members) > 1 else None
    except NotFound:
        compared = None
    verified = {one.id: one for one in compared.members} if compared else {}
    return [
        {
            "member": one["id"],
            "role": one["role"],
            "reachable": one["seen"]["reachable"],
            "last_seen": one["seen"]["seen_at"],
            "differs_for": max((abs(lag["seconds"]) for lag in one["seen"]["lags"]), default=0),
            "clock_differs": one["seen"]["clock_skew_seconds"],
            "error": one["seen"]["error"] or None,
            **verified_fields(compared, verified.get(one["id"])),
        }
        for one in members
        if one["seen"]
    ]


def reported_rows(report: InstanceReport, found: Verification | None) -> list[Row]:
    """The same from what the instance itself has written down; `found` is the newest comparison."""
    verified = {one.id: one for one in found.members} if found else {}
    return [
        {
            "member": one.id,
            "role": one.role,
            "reachable": one.reachable,
            "last_seen": output.when(one.seen_at),
            "differs_for": max((abs(seconds) for _, _, seconds in one.lags), default=0),
            "clock_differs": one.skew_seconds,
            "error": one.error or None,
            **verified_fields(found, verified.get(one.id)),
        }
        for one in report.members
    ]


def verified_fields(found: Verification | None, member: VerifiedMember | None) -> Row:
    """How a member came out of the newest comparison, and when that was."""
    return {
        "compared": member.state if member else None,
        "compared_at": output.when(found.at) if found and member else None,
    }


def verification(found: Mapping[str, Any]) -> Verification:
    """A comparison of the members."""
    return verification_of({**found, "at": posix(found["at"])})
