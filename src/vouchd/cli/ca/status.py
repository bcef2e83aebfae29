"""`vouchd ca`: the certificate manager's verbs about a certificate's status: revoke, hold, release, certs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import CertificateRecord, IssuedStatus
from vouchd.cli import output
from vouchd.cli.ca import crl
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption
from vouchd.clock import SystemClock
from vouchd.errors import ConfigError, IssuanceError
from vouchd.pkix.certs import serial_octets
from vouchd.pkix.reasons import NAMES, Reason, reason_text
from vouchd.signing.certificates import read_certificates

# A CRLReason as an administrator types it.


def parse_reason(text: str) -> Reason:
    """The reason of that name; capitals, `-` and `_` do not matter. Raises: IssuanceError."""
    plain = text.replace("-", "").replace("_", "").lower()
    for reason, name in NAMES.items():
        if name.lower() == plain:
            return reason
    raise IssuanceError(f"unknown revocation reason {text[:40]!r}", hint=f"one of {', '.join(NAMES.values())}")


Change = Callable[[CertificateManager, bytes, int], CertificateRecord]

MAX_SERIAL_DIGITS = 40  # RFC 5280 section 4.1.2.2: at most 20 octets

CertificateArgument = Annotated[
    str, typer.Argument(metavar="CERTIFICATE", help="Serial number in hexadecimal, or a certificate file.")
]
PublishOption = Annotated[
    bool, typer.Option("--publish", help="Make a CRL now and send it to all targets of `vouchd ca publish`.")
]


class Shown(StrEnum):
    """What `ca certs --status` takes."""

    VALID = "valid"
    HELD = "held"
    REVOKED = "revoked"
    EXPIRED = "expired"


def revoke(
    certificate: CertificateArgument,
    ca: CADirOption = DEFAULT_CA,
    reason: Annotated[str, typer.Option("--reason", "-r", help="CRLReason, such as keyCompromise.")] = "unspecified",
    invalidity_date: Annotated[
        str | None, typer.Option(metavar="TIME", help="Since when the key is doubtful: 2026-11-24T12:00:00Z.")
    ] = None,
    publish: PublishOption = False,
    json_output: JsonOption = False,
) -> None:
    """Revoke a certificate for good.

    Example: vouchd ca revoke 0x52a1… --reason keyCompromise --publish
    """
    since = None if invalidity_date is None else parse_time(invalidity_date)
    why = parse_reason(reason)
    _change(ca, certificate, publish, json_output, lambda manager, serial, at: manager.revoke(serial, at, why, since))


def hold(
    certificate: CertificateArgument,
    ca: CADirOption = DEFAULT_CA,
    publish: PublishOption = False,
    json_output: JsonOption = False,
) -> None:
    """Put a certificate on hold: revoked until it is released or revoked for good.

    Example: vouchd ca hold www.crt --publish
    """
    _change(ca, certificate, publish, json_output, lambda manager, serial, at: manager.hold(serial, at))


def release(
    certificate: CertificateArgument,
    ca: CADirOption = DEFAULT_CA,
    publish: PublishOption = False,
    json_output: JsonOption = False,
) -> None:
    """End the hold of a certificate.

    Example: vouchd ca release www.crt --publish
    """
    _change(ca, certificate, publish, json_output, lambda manager, serial, at: manager.release(serial, at))


def certs(
    ca: CADirOption = DEFAULT_CA,
    status: Annotated[Shown | None, typer.Option("--status", help="Only those of this status.")] = None,
    serials: Annotated[
        bool,
        typer.Option(
            "--serials", help="Serials alone, one a line, as `vouchd authority set --issued-serials` takes them."
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """List the certificates issued here.

    Example: vouchd ca certs --status revoked
    """
    at = SystemClock().now()
    stored = None if status in {None, Shown.EXPIRED} else IssuedStatus(str(status))
    with CertificateManager(ca) as manager:
        records = [
            certificate_fields(record, at)
            for record in manager.store.certificates(stored)
            if status is None or _shown(record, at) == status.value
        ]
    if serials:
        output.say("\n".join(str(record["serial"]) for record in records))
        return
    output.records(records, json_output=json_output, empty="no such certificate was issued")


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    for verb in (revoke, hold, release, certs):
        app.command()(verb)


def _change(ca: Path, certificate: str, publish: bool, json_output: bool, change: Change) -> None:
    """Change one certificate's status, show it and, when asked, publish the news."""
    at = SystemClock().now()
    with CertificateManager(ca) as manager:
        # Before the change: without a target, --publish is a mistake that must not leave half of the work done.
        targets = crl.all_targets(manager) if publish else []
        shown = certificate_fields(change(manager, find_serial(manager, certificate), at), at)
        deliveries, exit_code = crl.publish_to(manager, manager.make_crl(at), targets) if publish else ([], 0)
    if json_output:
        output.as_json(shown | ({"deliveries": deliveries} if publish else {}))
    else:
        output.record(shown, json_output=False)
        output.records(deliveries, json_output=False)
        output.hint("" if publish else "responders learn of it with the next `vouchd ca publish`")
    raise typer.Exit(exit_code)


def certificate_fields(record: CertificateRecord, at: int) -> dict[str, object]:
    """What is shown of one certificate."""
    return {
        "serial": record.serial_hex,
        "subject": record.subject,
        "profile": record.profile,
        "status": _shown(record, at),
        "not_after": output.when(record.not_after),
        "revoked_at": output.when(record.revoked_at),
        "reason": None if record.reason is None else reason_text(record.reason),
        "invalidity_date": output.when(record.invalidity_date),
    }


def _shown(record: CertificateRecord, at: int) -> str:
    expired = record.status is IssuedStatus.VALID and record.not_after < at
    return Shown.EXPIRED.value if expired else record.status.value


def find_serial(manager: CertificateManager, text: str) -> bytes:
    """The serial that a command line names: hexadecimal digits, or a file with a certificate issued here.

    Raises: ConfigError, IssuanceError, NotFound.
    """
    if Path(text).is_file():
        certificate = read_certificates(Path(text))[0]
        serial = serial_octets(certificate)
        if manager.store.get(serial).der != certificate.public_bytes(serialization.Encoding.DER):
            raise IssuanceError(f"{text} is of another CA", hint="name the right CA with --ca DIR")
        return serial
    digits = text.lower().replace(":", "").removeprefix("0x")
    try:
        number = int(digits, 16)
    except ValueError:
        number = -1
    if number < 0 or len(digits) > MAX_SERIAL_DIGITS or "_" in digits:
        raise ConfigError(
            f"{text[:60]!r} is neither a certificate file nor a serial number", hint="hexadecimal, as in 0x52a1c7"
        )
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def parse_time(text: str) -> int:
    """POSIX seconds of an ISO 8601 date or time, UTC unless it says otherwise. Raises: ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text[:40]!r} is not a time", hint="write it like 2026-11-24T12:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
