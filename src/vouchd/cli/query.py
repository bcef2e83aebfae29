"""`vouchd query`: ask an OCSP responder about certificates, verify the answer, show it.

Exit code: 0 when all are good, 1 when any is revoked, else 3 when any is unknown; 69 when there is no usable answer,
76 when it cannot be relied upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import output
from vouchd.cli.certificate_files import read_issuer, read_leaf
from vouchd.cli.options import JsonOption
from vouchd.client.authority import responder_text
from vouchd.client.inquiry import Question, Reply, new_nonce, question, responder_url, send, serial_of
from vouchd.client.response_acceptance import NonceRule, Terms, Verified, status_name
from vouchd.client.response_facts import BasicResponse, SingleResponse
from vouchd.client.transport import Connection, Method
from vouchd.clock import SystemClock
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, ConfigError
from vouchd.files import write_output
from vouchd.pkix.reasons import reason_text
from vouchd.signing.certificates import read_certificates, trusting

# What the commands that ask a responder share: certificates and serials from the command line, rounds of asking.

MAX_SERIAL_OCTETS = 64  # RFC 5280 allows 20; some CAs went above


def serial_octets(text: str, *, base: int = 16) -> bytes:
    """DER INTEGER content octets of a serial as people write it; `0x` always means hexadecimal.

    Raises: ConfigError.
    """
    digits = text.strip().replace(":", "").lower()
    if digits.startswith("0x"):
        digits, base = digits[2:], 16
    try:
        number = int(digits, base)
    except ValueError:
        number = -1
    if number < 0 or not (digits.isascii() and digits.isalnum()) or number.bit_length() >= 8 * MAX_SERIAL_OCTETS:
        kind = "hexadecimal, as in 0x52a1c7" if base == 16 else "decimal, or hexadecimal as in 0x52a1c7"
        raise ConfigError(f"{text[:80]!r} is not a serial number", hint=kind)
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


@dataclass(frozen=True, slots=True)
class Rounds:
    """What several askings of the same gave: durations in seconds, and whether all answers were the same bytes."""

    seconds: tuple[float, ...]
    identical: bool

    def percentile(self, share: float) -> float:
        """The duration that `share` (0 to 1) of all askings did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The first reply with what its verification said, and the figures of all rounds."""

    reply: Reply
    verified: Verified | None
    failure: ClientError | None
    rounds: Rounds


def ask_times(
    connection: Connection, questions: Iterable[Question], terms: Terms, method: Method = Method.AUTO
) -> Outcome:
    """Ask each question in turn over one connection and verify every answer; the first that fails ends it.

    Raises: ClientError when there is no OCSP response at all.
    """
    shown: tuple[Reply, Verified | None, ClientError | None] | None = None
    seconds: list[float] = []
    bodies: set[bytes] = set()
    for one in questions:
        reply = send(connection, one, method)
        seconds.append(reply.exchange.seconds)
        bodies.add(reply.exchange.body)
        try:
            verified = reply.verify(SystemClock().now(), terms)
        except ClientError as error:
            shown = (reply, None, error)
            break
        shown = shown or (reply, verified, None)
    if shown is None:
        raise ClientError("nothing to ask for")
    return Outcome(*shown, Rounds(tuple(seconds), len(bodies) == 1))


# An OCSP answer in words and as JSON: each fact once, verified or not.

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
    shape: dict[str, object] = {
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
        return shape
    singles = verified.singles if verified else basic.singles
    return (
        shape
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
    doubts = list(outcome.verified.warnings) if outcome.verified else []
    if not outcome.reply.content_type_is_right:
        kind = outcome.reply.exchange.header("Content-Type")
        doubts.append(f"the answer is sent as {kind or 'nothing'} instead of application/ocsp-response")
    return doubts


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


class Digest(StrEnum):
    """Digest of the CertIDs."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def standard_name(self) -> str:
        """`SHA-256` for sha256."""
        return f"SHA-{self.value.removeprefix('sha')}"


def query(
    certificates: Annotated[
        list[Path] | None, typer.Argument(metavar="[CERT]...", help="Certificates to ask about, PEM or DER.")
    ] = None,
    *,
    issuer: Annotated[Path, typer.Option("--issuer", metavar="FILE", help="Certificate of the CA that issued them.")],
    url: Annotated[
        str, typer.Option("--url", "-u", metavar="URL", help="The responder; default: as the first certificate says.")
    ] = "",
    serial: Annotated[
        list[str] | None, typer.Option("--serial", "-s", metavar="HEX", help="Serial to ask about; repeatable.")
    ] = None,
    method: Annotated[
        Method, typer.Option("--method", "-m", case_sensitive=False, help="auto: GET up to 255 octets, else POST.")
    ] = Method.AUTO,
    digest: Annotated[
        Digest, typer.Option("--hash", case_sensitive=False, help="Digest of the CertIDs.")
    ] = Digest.SHA256,
    nonce: Annotated[bool, typer.Option("--nonce/--no-nonce", help="Send a nonce of 32 octets.")] = True,
    require_nonce: Annotated[
        bool, typer.Option("--require-nonce", help="Refuse an answer that does not repeat it.")
    ] = False,
    trust: Annotated[
        list[Path] | None, typer.Option("--trust", metavar="FILE", help="A signer to trust for any CA; repeatable.")
    ] = None,
    times: Annotated[int, typer.Option("--times", "-n", min=1, max=1_000_000, help="Ask this often.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the answer's DER here.")
    ] = None,
    tolerance: Annotated[int, typer.Option(min=0, help="Seconds that the clocks may differ.")] = 300,
    max_age: Annotated[int | None, typer.Option(min=1, help="Refuse a thisUpdate this many seconds old.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds for one answer.")] = 10,
    tls_ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Roots to trust for https, PEM.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Ask a responder about certificates and verify what it says.

    Exit code: 0 all good, 1 any revoked, 3 any unknown, 69 no answer, 76 an answer not to be relied upon.

    Example: vouchd query --issuer ca.crt www.crt --url http://127.0.0.1:8080/
    """
    files = {path: read_leaf(str(path)) for path in certificates or []}
    issuer_der = read_issuer(str(issuer), list(files.values()))
    names = {serial_of(der, issuer_der): str(path) for path, der in files.items()}
    serials = list(dict.fromkeys([*names, *(serial_octets(text) for text in serial or [])]))
    if not serials:
        raise ConfigError("nothing to ask about", hint="name certificate files, or --serial HEX")

    def ask() -> Question:
        return question(issuer_der, serials, digest=digest.standard_name, nonce=new_nonce() if nonce else None)

    rule = NonceRule.REQUIRE if require_nonce else NonceRule.WARN
    trusted = [one.public_bytes(Encoding.DER) for path in trust or [] for one in read_certificates(path)]
    terms = Terms(rule, tolerance, max_age, tuple(trusted))
    address = url or _url_of(list(files.values()))
    with Connection(address, timeout_seconds=timeout, tls=trusting(tls_ca) if tls_ca else None) as connection:
        outcome = ask_times(connection, (ask() for _ in range(times)), terms, method)
    if out is not None:
        write_output(out, outcome.reply.exchange.body)
    _tell(outcome, names, json_output)


def _tell(outcome: Outcome, names: Mapping[bytes, str], json_output: bool) -> NoReturn:
    """Show the answer and leave with its exit code. Raises: VouchdError when it was not verified."""
    if json_output:
        output.as_json(facts(outcome, names))
    else:
        show(outcome, names)
        for warning in warnings(outcome):
            output.warn(warning)
    if outcome.verified is None:
        raise outcome.failure or ConfigError("nothing was verified")
    raise typer.Exit(exit_code(outcome.verified))


def _url_of(certificate_ders: list[bytes]) -> str:
    """The OCSP URL of the first certificate that has one. Raises: ConfigError."""
    responder = next((url for url in map(responder_url, certificate_ders) if url), None)
    if responder is None:
        raise ConfigError("no certificate names its responder", hint="say where it is: --url http://host:port/")
    return responder
