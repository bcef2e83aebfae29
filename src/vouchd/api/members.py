"""The security domain: its members, and comparing them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vouchd.api import told
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import (
    BOOLEAN,
    COUNT,
    MAYBE_MOMENT,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MOMENT,
    TEXT,
    Schema,
    array,
    record,
    reference,
    text,
)
from vouchd.cloning.registry import master_of
from vouchd.cloning.verdicts import DIFFERENT, IDENTICAL, NO_ANSWER, Verification, read_verification
from vouchd.cloning.verifying import SAMPLE, SETTLE_SECONDS
from vouchd.core.facts import DirectoryServer, Member
from vouchd.errors import NotFound
from vouchd.instance.report import MemberReport
from vouchd.service.permission import Action

MAX_SAMPLE, MAX_SERIALS, MAX_SETTLE_SECONDS = 100, 100, 60
_NULL: Schema = {"type": "null"}
_ROLE: Schema = {"type": "string", "enum": ["master", "clone"]}
_SEEN = {"seen_at": MAYBE_MOMENT, "clock_skew_seconds": {"type": "integer"}, "error": TEXT}
SCHEMAS: dict[str, Schema] = {
    "SecurityDomain": record(
        {
            "name": TEXT,
            "this_instance": MAYBE_TEXT,
            "master": MAYBE_TEXT,
            "facts_in": {"type": "string", "enum": ["embedded store", "directory server"]},
            "members": array(reference("Member")),
        }
    ),
    "Member": record(
        {
            "id": TEXT,
            "role": _ROLE,
            "ee_port": COUNT,
            "directory": {"anyOf": [reference("DirectoryServer"), _NULL]},
            "joined_at": MOMENT,
            "fingerprint": TEXT,
            "seen": {"anyOf": [reference("SeenMember"), _NULL]},
        }
    ),
    "DirectoryServer": record({"address": TEXT, "connection": TEXT, "replica_id": MAYBE_NUMBER}),
    "SeenMember": record(
        {"reachable": BOOLEAN, **_SEEN, "lags": array(reference("MemberLag")), "crls": array(reference("MemberCRL"))}
    ),
    "MemberCRL": record({"authority": TEXT, "scope": TEXT, "crl_number": MAYBE_NUMBER}),
    "MemberLag": record(
        {"authority": TEXT, "scope": TEXT, "seconds": {"type": "integer"}},
        description="For how long it has had an older CRL than this instance; negative: a newer one.",
    ),
    "Verification": record({"at": MOMENT, "identical": BOOLEAN, "members": array(reference("VerifiedMember"))}),
    "VerifiedMember": record(
        {
            "id": TEXT,
            "state": {"type": "string", "enum": [IDENTICAL, DIFFERENT, NO_ANSWER]},
            "error": TEXT,
            "asked": COUNT,
            "status": COUNT,
            "response_data": COUNT,
            "bytes": COUNT,
            "bytes_asked": COUNT,
            "differences": COUNT,
            "told": array(reference("VerifiedDifference")),
        }
    ),
    "VerifiedDifference": record(dict.fromkeys(("level", "what", "way", "field", "here", "there"), TEXT)),
    "VerificationRun": record(
        {},
        {
            "sample": {"type": "integer", "minimum": 0, "maximum": MAX_SAMPLE},
            "serials": array(text(low=1, high=200), high=MAX_SERIALS),
            "settle_seconds": {"type": "number", "minimum": 0, "maximum": MAX_SETTLE_SECONDS},
        },
    ),
}


def _members(call: Call) -> dict[str, Any]:
    services = call.services
    found = services.domain.members(call.caller)
    me, master = services.membership.me(), master_of(found)

    async def look() -> tuple[MemberReport, ...]:
        return services.running.report().members

    seen = {one.id: one for one in call.wait(look())}
    return {
        "name": services.settings.of_set.domain,
        "this_instance": me.id if me else None,
        "master": master.id if master else None,
        "facts_in": "directory server" if services.settings.directory else "embedded store",
        "members": [_member(one, master, seen.get(one.id)) for one in found],
    }


def _member(member: Member, master: Member | None, seen: MemberReport | None) -> dict[str, Any]:
    return {
        "id": member.id,
        "role": "master" if member == master else "clone",
        "ee_port": member.ee_port,
        "directory": _directory(member.directory) if member.directory else None,
        "joined_at": told.moment(member.joined_at),
        "fingerprint": member.tls_sha256,
        "seen": _seen(seen) if seen else None,
    }


def _directory(server: DirectoryServer) -> dict[str, Any]:
    return {"address": server.address, "connection": server.transport.value, "replica_id": server.replica_id}


def _seen(member: MemberReport) -> dict[str, Any]:
    return {
        "reachable": member.reachable,
        "seen_at": told.maybe_moment(member.seen_at),
        "clock_skew_seconds": member.skew_seconds,
        "error": member.error,
        "lags": [
            {"authority": authority, "scope": scope, "seconds": seconds} for authority, scope, seconds in member.lags
        ],
        "crls": [
            {"authority": authority, "scope": scope, "crl_number": number} for authority, scope, number in member.crls
        ],
    }


def _latest(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.READ_DOMAIN, "verification")
    found = read_verification(call.services.layout.verification)
    if found is None:
        raise NotFound("nothing was compared yet", hint="vouchd clone verify compares this instance with the others")
    return _verification(found)


def _verify(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.VERIFY_MEMBERS, "*")
    serials = [told.serial_octets(one) for one in call.body.get("serials", ())]
    sample, settle = call.body.get("sample", SAMPLE), call.body.get("settle_seconds", SETTLE_SECONDS)
    return _verification(call.services.verifying.verify(sample, serials, settle))


def _verification(found: Verification) -> dict[str, Any]:
    members = [{**asdict(one), "state": one.state} for one in found.members]
    return {"at": told.moment(found.at), "identical": found.identical, "members": members}


OPERATIONS = (
    Operation(
        "GET",
        "/members",
        "listMembers",
        "The members of the security domain, and how the others were seen last",
        Action.READ_DOMAIN,
        _members,
        reference("SecurityDomain"),
    ),
    Operation(
        "GET",
        "/verification",
        "getVerification",
        "The newest comparison of this instance with the other members",
        Action.READ_DOMAIN,
        _latest,
        reference("Verification"),
        refusals={404: "Nothing was compared yet."},
    ),
    Operation(
        "POST",
        "/verification",
        "verifyMembers",
        "Compare lists and answers with the other members now, and wait for the result",
        Action.VERIFY_MEMBERS,
        _verify,
        reference("Verification"),
        body=reference("VerificationRun"),
        refusals={502: "This instance does not answer."},
    ),
)
