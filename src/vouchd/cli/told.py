"""What the REST API tells, as the verbs show it: lines where they show lines, our facts where they show facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vouchd.audit.chain import AuditRecord
from vouchd.audit.search import AuditQuery
from vouchd.cli import output
from vouchd.client.admin import AdminClient
from vouchd.core.facts import Authority, AuthorityPolicy, ExpiredCRLPolicy, ExpiredDeltaPolicy, Group, User
from vouchd.core.records import policy_record
from vouchd.pkix import pem
from vouchd.service.selftests import SelfTestInfo, SelfTestResult

Row = dict[str, object]
PKIX_CRL = "application/pkix-crl"
_PAGE_RECORDS = 1000


def posix(moment: str) -> int:
    """POSIX seconds of RFC 3339 text."""
    return int(datetime.fromisoformat(moment).timestamp())


def der(pem_text: str) -> bytes:
    """DER of a certificate that is told as PEM."""
    return bytes(pem.single(pem_text.encode(), pem.CERTIFICATE_LABELS))


def user(found: Mapping[str, Any]) -> User:
    """A user."""
    certificates = tuple(der(one["pem"]) for one in found["certificates"])
    return User(found["id"], found["full_name"], frozenset(map(Group, found["groups"])), certificates, found["enabled"])


def policy(found: Mapping[str, Any]) -> AuthorityPolicy:
    """A CA's own policy."""
    expired = found["expired_crl"]
    known = {
        "expired_crl": None if expired is None else ExpiredCRLPolicy(expired),
        "expired_delta": ExpiredDeltaPolicy(found["expired_delta"]),
        "crl_issuers": tuple(der(one) for one in found["crl_issuers"]),
        "expected_scopes": tuple(found["expected_scopes"]),
    }
    return AuthorityPolicy(**{**found, **known})


def authority(found: Mapping[str, Any]) -> Authority:
    """A CA."""
    return Authority(found["id"], der(found["certificate"]), found["label"], policy(found["policy"]))


def audit_record(found: Mapping[str, Any]) -> AuditRecord:
    """A record of the audit log."""
    return AuditRecord(**{**found, "time": posix(found["time"]), "groups": tuple(found["groups"])})


def audit_records(asked: AdminClient, query: AuditQuery, limit: int) -> list[AuditRecord]:
    """The newest records that are like `query`, at most `limit`."""
    times = {"since": output.when(query.since), "until": output.when(query.until)}
    found: list[AuditRecord] = []
    before = query.before
    while len(found) < limit:
        given = {**asdict(query), **times, "before": before, "limit": min(limit - len(found), _PAGE_RECORDS)}
        page = asked.get("audit", **{name: str(value) for name, value in given.items() if value not in (None, "")})
        found += [audit_record(one) for one in page["records"]]
        if (before := page["next_before"]) is None:
            break
    return found


def self_test(found: Mapping[str, Any]) -> SelfTestInfo:
    """A self test."""
    names = {"startup": found["at_start"], "on_demand": found["on_demand"]}
    return SelfTestInfo(name=found["name"], about=found["about"], place=found["place"], **names)


def self_test_result(found: Mapping[str, Any]) -> SelfTestResult:
    """How a self test went."""
    return SelfTestResult(**{**found, "at": posix(found["at"])})


def quarantined_row(found: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """One line of `vouchd crl quarantine list`."""
    return {
        "CA": names.get(found["authority"], found["authority"]),
        "scope": found["scope"],
        "CRL_number": found["crl"]["crl_number"],
        "this_update": found["crl"]["this_update"],
        "received_at": found["received_at"],
        "origin": found["origin"] or None,
        "why": found["why"],
    }


def authority_row(found: Mapping[str, Any], short_id: int) -> Row:
    """One line of `vouchd ca list`."""
    updates = [point["next_update"] for point in found["issuing_points"] if point["next_update"]]
    return {
        "label": found["label"],
        "id": found["id"][:short_id],
        "CRLs": len(found["issuing_points"]),
        "revoked": found["entries"],
        "next_update": min(updates, default=None),
        "quarantined": len(found["quarantined"]),
        "CA_not_after": found["not_after"],
    }


def authority_fields(found: Mapping[str, Any]) -> Row:
    """The same with all that is told of a CA."""
    own = {"subject": found["subject"], "policy": policy_record(policy(found["policy"]))}
    return {**authority_row(found, len(found["id"])), **own}


def labels(asked: AdminClient) -> dict[str, str]:
    """Label by id of all CAs."""
    return {found["id"]: found["label"] for found in asked.get("authorities")}


def point_row(point: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """One line of `vouchd crl list`."""
    return {
        "CA": names.get(point["authority"], point["authority"]),
        "scope": point["scope"],
        "CRL_number": point["crl_number"],
        "kind": "delta" if point["delta"] else "full",
        "this_update": point["this_update"],
        "next_update": point["next_update"],
        "entries": point["base"]["entries"] + (point["delta"]["entries"] if point["delta"] else 0),
        "state": "expired" if point["expired"] else "fresh",
    }


def point_fields(point: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """What `vouchd crl show` tells."""
    fields = {
        **point_row(point, names),
        "CA_id": point["authority"],
        "sequence": point["sequence"],
        "accepted_at": point["accepted_at"],
        "origin": point["origin"] or None,
    }
    for which in ("base", "delta"):
        for name, value in (point[which] or {}).items():
            fields[f"{which}_{name.removeprefix('crl_')}"] = value
    return fields


def taken_rows(done: Mapping[str, Any], names: Mapping[str, str]) -> list[Row]:
    """The lines of `vouchd crl add` and `vouchd crl quarantine release` for one CRL."""
    rows = [point_row(point, names) for point in done["issuing_points"]]
    return [
        {**{name: value for name, value in row.items() if name != "state"}, "served": done["served"]} for row in rows
    ]


def instance_fields(found: Mapping[str, Any]) -> Row:
    """What `vouchd status` tells of the instance itself."""
    return {
        "state": "running" if found["up_to_date"] else "loading",
        "since": found["started_at"],
        "OCSP_port": found["ocsp_port"],
        "workers": found["workers"],
        "worker_restarts": found["restarts"],
        "store": found["store_error"] or "in reach",
    }


def served_rows(found: Mapping[str, Any]) -> list[Row]:
    """Its issuing points."""
    return [
        {
            "CA": point["label"],
            "scope": point["scope"],
            "CRL_number": point["crl_number"],
            "revoked": point["entries"],
            "this_update": point["this_update"],
            "next_update": point["next_update"],
        }
        for point in found["issuing_points"]
    ]


def explanation(found: Mapping[str, Any]) -> Row:
    """What `vouchd explain` tells."""
    label = found["authority_label"]
    plain = ("revoked_at", "reason", "this_update", "next_update", "produced_at", "signer")
    return {
        "serial": found["serial"],
        "answer": found["answer"],
        "why": found["why"],
        "hint": found["hint"] or None,
        "authority": {"id": found["authority"], "label": label} if label is not None else None,
        **{name: found[name] for name in plain},
        "issuing_points": [_examined(one) for one in found["issuing_points"]],
        "policy": found["policy"] and {_POLICY_NAMES[name]: value for name, value in found["policy"].items()},
    }


_POLICY_NAMES = {
    "not_found_as_good": "notFoundAsGood",
    "include_next_update": "includeNextUpdate",
    "expired_crl": "expiredCRL",
    "extended_revoke": "extendedRevoke",
    "issued_serials_known": "issuedSerialsKnown",
    "expected_scopes": "expectedScopes",
    "by_name": "byName",
}


def _examined(point: Mapping[str, Any]) -> Row:
    base, delta, entry = point["base"], point["delta"] or {}, point["entry"]
    return {
        "scope": point["scope"],
        "relied_upon": point["relied_upon"],
        "expired": point["expired"],
        "sequence": point["sequence"],
        "crl_number": base["crl_number"],
        "crl_sha256": base["sha256"],
        "delta_number": delta.get("crl_number"),
        "delta_sha256": delta.get("sha256"),
        **{name: point[name] for name in ("this_update", "next_update", "accepted_at")},
        "origin": point["origin"] or None,
        "entries": point["entries"],
        "entry": entry and f"revoked {entry['revoked_at']}, {entry['reason']}",
        "invalidity_date": entry and entry["invalidity_date"],
    }
