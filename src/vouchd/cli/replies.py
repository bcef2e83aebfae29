"""An OCSP answer in words and as JSON: each fact once, verified or not."""

from __future__ import annotations

from collections.abc import Mapping

from vouchd.cli import output
from vouchd.cli.asking import Outcome
from vouchd.client.authority import responder_text
from vouchd.client.response import BasicResponse, SingleResponse
from vouchd.client.response_acceptance import Verified, status_name
from vouchd.core.facts import CertStatus
from vouchd.pkix.reasons import reason_text

# One code for the worst status among those asked for; 2 is what a wrong command line gets.
EXIT_CODES = {CertStatus.GOOD: 0, CertStatus.REVOKED: 1, CertStatus.UNKNOWN: 3}


def exit_code(verified: Verified) -> int:
    """1 when any certificate is revoked, else 3 when any is unknown, else 0."""
    statuses = {single.status for single in verified.singles}
    worst = next((one for one in (CertStatus.REVOKED, CertStatus.UNKNOWN) if one in statuses), CertStatus.GOOD)
    return EXIT_CODES[worst]


def facts(outcome: Outcome, names: Mapping[bytes, str]) -> dict[str, object]:
    """All facts of an answer as JSON takes them; `names` are the files that the serials came from."""
    reply, verified, basic = outcome.reply, outcome.verified, outcome.reply.response.basic
    exchange = reply.exchange
    found: dict[str, object] = {
        "url": exchange.url,
        "method": exchange.method,
        "http_status": exchange.http_status,
        "headers": dict(exchange.headers),
        "milliseconds": _milliseconds(exchange.seconds),
        "response_status": status_name(reply.response.status),
        "verified": verified is not None,
        "failure": None if outcome.failure is None else str(outcome.failure),
        "warnings": warnings(outcome),
        "request": reply.question.request_der,
        "response": exchange.body,
        "rounds": _rounds(outcome),
    }
    if basic is None:
        return found
    singles = verified.singles if verified else basic.singles
    return (
        found
        | {"answers": [_single(single, names) for single in singles]}
        | _signature(basic, verified)
        | {"nonce": _nonce(outcome, basic)}
    )


def show(outcome: Outcome, names: Mapping[bytes, str]) -> None:
    """Print an answer for people: each certificate, then who says so and how it came."""
    basic, verified = outcome.reply.response.basic, outcome.verified
    if basic is None:
        return
    for single in verified.singles if verified else basic.singles:
        lines = {key: value for key, value in _single(single, names).items() if value not in (None, [])}
        extensions = lines.pop("extensions", None)
        output.record(lines, json_output=False)
        if isinstance(extensions, list):
            output.record({str(one["name"]): one["value"] for one in extensions}, json_output=False)
        output.say("")
    exchange = outcome.reply.exchange
    # Of a GET the request in the path is left out: base64 says nothing to people.
    where = exchange.url.rpartition("/")[0] + "/…" if exchange.method == "GET" else exchange.url
    output.record(
        {"verified": "yes" if verified else "NO"}
        | {key: value for key, value in _signature(basic, verified).items() if value is not None}
        | {"nonce": _nonce(outcome, basic), "asked": f"{exchange.method} {where}"}
        | {"answered": f"HTTP {exchange.http_status} in {_milliseconds(exchange.seconds)} ms"},
        json_output=False,
    )
    if len(outcome.rounds.seconds) > 1:
        output.say("")
        output.record(_rounds(outcome), json_output=False)


def warnings(outcome: Outcome) -> list[str]:
    """What is doubtful about the answer."""
    found = list(outcome.verified.warnings) if outcome.verified else []
    if not outcome.reply.content_type_is_right:
        kind = outcome.reply.exchange.header("Content-Type")
        found.append(f"the answer is sent as {kind or 'nothing'} instead of application/ocsp-response")
    return found


def _single(single: SingleResponse, names: Mapping[bytes, str]) -> dict[str, object]:
    serial = single.cert_id.serial
    return {
        "certificate": names.get(serial),
        "serial": output.serial_text(serial),
        "status": single.status.value,
        "revoked_at": output.when(single.revocation_time),
        "reason": None if single.reason is None else reason_text(single.reason),
        "this_update": output.when(single.this_update),
        "next_update": output.when(single.next_update),
        "digest": single.cert_id.digest,
        "extensions": [
            {"name": one.name, "critical": one.critical, "value": output.when(one.time) or one.value.hex()}
            for one in single.extensions
        ],
    }


def _signature(basic: BasicResponse, verified: Verified | None) -> dict[str, object]:
    return {
        "produced_at": output.when(basic.produced_at),
        "responder": responder_text(basic),
        "signer": verified.signer.subject.rfc4514_string() if verified else None,
        "signer_role": verified.role.value if verified else None,
        "algorithm": basic.algorithm,
    }


def _nonce(outcome: Outcome, basic: BasicResponse) -> str:
    sent = outcome.reply.question.nonce
    if basic.nonce is None:
        return "none sent" if sent is None else "not repeated"
    return "repeated" if basic.nonce == sent else "another one"


def _rounds(outcome: Outcome) -> dict[str, object]:
    rounds = outcome.rounds
    return {
        "times": len(rounds.seconds),
        "min_ms": _milliseconds(min(rounds.seconds)),
        "median_ms": _milliseconds(rounds.percentile(0.5)),
        "p99_ms": _milliseconds(rounds.percentile(0.99)),
        "all_bytes_equal": rounds.identical,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
