"""The security domain: its members, and comparing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vouchd.api import shapes
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
    described,
    record,
    reference,
    text,
)
from vouchd.api.services import Services
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.cloning.registry import master_of
from vouchd.cloning.verdicts import DIFFERENT, IDENTICAL, NO_ANSWER, Verification, read_verification, verification_of
from vouchd.cloning.verifying import SAMPLE, SETTLE_SECONDS
from vouchd.core.facts import DirectoryServer, Member
from vouchd.errors import LifecycleError, NotFound, StoreUnavailable
from vouchd.instance.report import MemberReport
from vouchd.service.permission import Action

MAX_SAMPLE, MAX_SERIALS, MAX_SETTLE_SECONDS = 100, 1000, 60
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
    "Place": record(
        {
            "domain": TEXT,
            "this_instance": TEXT,
            "role": _ROLE,
            "master": MAYBE_TEXT,
            "facts_in": {"type": "string", "enum": ["embedded store", "directory server"]},
            "registry_error": described(TEXT, "Why the registry cannot be read now; empty: it can."),
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
    members = services.domain.members(call.caller)
    me, master = services.membership.me(), master_of(members)
    seen = {one.id: one for one in _others_seen(call)}
    return {
        "name": services.settings.of_set.domain,
        "this_instance": me.id if me else None,
        "master": master.id if master else None,
        "facts_in": _facts_in(services),
        "members": [_member(one, master, seen.get(one.id)) for one in members],
    }


def _others_seen(call: Call) -> tuple[MemberReport, ...]:
    """The other members as the running instance saw them last; none while it does not run."""
    try:
        return call.running.report().members
    except LifecycleError:
        return ()


def _member(member: Member, master: Member | None, seen: MemberReport | None) -> dict[str, Any]:
    return {
        "id": member.id,
        "role": "master" if member == master else "clone",
        "ee_port": member.ee_port,
        "directory": _directory(member.directory) if member.directory else None,
        "joined_at": shapes.moment(member.joined_at),
        "fingerprint": member.tls_sha256,
        "seen": _seen(seen) if seen else None,
    }


def _directory(server: DirectoryServer) -> dict[str, Any]:
    return {"address": server.address, "connection": server.transport.value, "replica_id": server.replica_id}


def _seen(member: MemberReport) -> dict[str, Any]:
    return {
        "reachable": member.reachable,
        "seen_at": shapes.maybe_moment(member.seen_at),
        "clock_skew_seconds": member.skew_seconds,
        "error": member.error,
        "lags": [
            {"authority": authority, "scope": scope, "seconds": seconds} for authority, scope, seconds in member.lags
        ],
        "crls": [
            {"authority": authority, "scope": scope, "crl_number": number} for authority, scope, number in member.crls
        ],
    }


def _place(call: Call) -> dict[str, Any]:
    services = call.services
    me, seen = services.settings.member_id, call.running.report().members
    master = next((one.id for one in seen if one.role == "master"), None)
    is_clone = services.settings.refresh_seconds == CLONE_REFRESH_SECONDS
    failure = ""
    try:
        members = services.domain.members(call.caller)
    except StoreUnavailable as error:
        failure = str(error)
    else:
        if me not in {one.id for one in members}:
            raise NotFound("this instance is in no security domain", hint="vouchd clone prepare makes it the master")
        first = master_of(members)
        master = first.id if first else None
        is_clone = me != master
    return {
        "domain": services.settings.of_set.domain,
        "this_instance": me,
        "role": "clone" if is_clone else "master",
        "master": master or (None if is_clone else me),
        "facts_in": _facts_in(services),
        "registry_error": failure,
    }


def _facts_in(services: Services) -> str:
    return "directory server" if services.settings.directory else "embedded store"


def _latest(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.READ_DOMAIN, "verification")
    verification = read_verification(call.services.layout.verification)
    if verification is None:
        raise NotFound("nothing was compared yet", hint="vouchd clone verify compares this instance with the others")
    return _verification(verification)


def _verify(call: Call) -> dict[str, Any]:
    call.services.permission.allow(call.caller, Action.VERIFY_MEMBERS, "*")
    serials = [shapes.serial_octets(one) for one in call.body.get("serials", ())]
    sample, settle = call.body.get("sample", SAMPLE), call.body.get("settle_seconds", SETTLE_SECONDS)
    return _verification(call.services.verifying.verify(sample, serials, settle))


def read_shape(shape: Mapping[str, Any]) -> Verification:
    """The comparison of which an operation gave that shape."""
    return verification_of({**shape, "at": shapes.posix(shape["at"], "at")})


def _verification(verification: Verification) -> dict[str, Any]:
    members = [{**one.record(), "state": one.state} for one in verification.members]
    return {"at": shapes.moment(verification.at), "identical": verification.identical, "members": members}


OPERATIONS = (
    Operation(
        "GET",
        "/members",
        "members.list",
        "The members of the security domain, and how the others were seen last",
        Action.READ_DOMAIN,
        _members,
        reference("SecurityDomain"),
    ),
    Operation(
        "GET",
        "/members/place",
        "members.place",
        "The place of this instance in its set; known from what was seen of the others while the store is away",
        Action.READ_DOMAIN,
        _place,
        reference("Place"),
        refusals={404: "The instance is in no set."},
    ),
    Operation(
        "GET",
        "/verification",
        "members.verification",
        "The newest comparison of this instance with the other members",
        Action.READ_DOMAIN,
        _latest,
        reference("Verification"),
        refusals={404: "Nothing was compared yet."},
    ),
    Operation(
        "POST",
        "/verification",
        "members.verify",
        "Compare lists and answers with the other members now, and wait for the result",
        Action.VERIFY_MEMBERS,
        _verify,
        reference("Verification"),
        body=reference("VerificationRun"),
        refusals={502: "This instance does not answer."},
    ),
)
