"""`vouchd clone verify`: do all members of the set list the same CRLs and give the same answers?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from vouchd.api.members import MAX_SETTLE_SECONDS, read_shape
from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption
from vouchd.cloning.probing import MAX_SAMPLE
from vouchd.cloning.verdicts import Verification, VerifiedMember
from vouchd.cloning.verifying import SETTLE_SECONDS
from vouchd.errors import ConfigError, NotFound, VouchdError

DIFFERENT = 4  # exit code: a difference, or a member that did not answer
_MAX_SERIALS = 1000
_SERIAL_DIGITS = 2 * 64


@reachable
def verify(
    instance: Instance,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=0,
            max=MAX_SAMPLE,
            help="Certificates of each kind and CA to ask about; default: 5, and 1000 of all CAs together.",
        ),
    ] = None,
    serial: Annotated[
        list[str] | None,
        typer.Option("--serial", metavar="HEX", help="Ask about this one of every CA instead; repeatable."),
    ] = None,
    watch: Annotated[
        float, typer.Option("--watch", min=0, metavar="SECONDS", help="Again and again; tells changes only.")
    ] = 0,
    settle: Annotated[
        float, typer.Option("--settle", min=0, metavar="SECONDS", help="Wait so long for a change to reach all.")
    ] = SETTLE_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Compare this instance with all other members: lists of CAs and CRLs, and OCSP answers byte for byte.

    Revoked, held, issued and never issued certificates, and one of an unknown CA, by GET and POST, and with a nonce.
    Ends with 4 when there is any difference or a member does not answer.

    Example: vouchd clone verify --sample 100
    """
    chosen = serials_of(serial or ())
    body = {
        "sample": sample,
        "serials": [output.serial_text(one) for one in chosen],
        "settle_seconds": min(settle, MAX_SETTLE_SECONDS),
    }
    before: object = None
    while True:
        try:
            verification = read_shape(instance.call("members.verify", body=body))
        except VouchdError as error:
            if not watch:
                raise
            before = _tell_error(error, before)
        else:
            before = _tell(verification, before, json_output=json_output)
            if not watch:
                break
        time.sleep(watch)
    if not verification.members:
        raise NotFound("there is no other member to compare with", hint="vouchd domain members shows the set")
    if not verification.identical:
        raise typer.Exit(DIFFERENT)


def _tell(verification: Verification, before: object, *, json_output: bool) -> object:
    """Show what was found unless it is what was told before."""
    # Not which certificates: each comparison draws others.
    essence = [
        (one.id, one.state, {(example.level, example.field) for example in one.examples})
        for one in verification.members
    ]
    if essence == before:
        return before
    if json_output:
        output.as_json([_record(verification, member) for member in verification.members])
        return essence
    output.records([_row(verification, member) for member in verification.members], json_output=False)
    for member in verification.members:
        for words in member.expected:
            output.note(f"{member.id}: different as expected: {words}")
        for words in (member.error, *map(str, member.examples)):
            if words:
                output.warn(f"{member.id}: {words}")
        if member.differences > len(member.examples):
            output.warn(f"{member.id}: {member.differences - len(member.examples)} more")
    return essence


def _tell_error(error: VouchdError, before: object) -> object:
    if str(error) != before:
        output.fail(error)
    return str(error)


def _row(verification: Verification, member: VerifiedMember) -> dict[str, object]:
    return {
        "at": output.when(verification.at),
        "member": member.id,
        "state": member.state,
        "asked": member.questions,
        "bytes": f"{member.bytes} of {member.bytes_asked}",
        "ResponseData": member.response_data,
        "status": member.status,
        "differences": member.differences,
    }


def _record(verification: Verification, member: VerifiedMember) -> dict[str, object]:
    """The same for programs, with what is different."""
    differences = [one.record() for one in member.examples]
    numbers = {"bytes": member.bytes, "bytes_asked": member.bytes_asked}
    return {**_row(verification, member), **numbers, "error": member.error or None, "told": differences}


def serials_of(texts: Sequence[str]) -> list[bytes]:
    """Serial numbers in hexadecimal as DER INTEGER content octets. Raises: ConfigError."""
    if len(texts) > _MAX_SERIALS:
        raise ConfigError(f"{len(texts)} serial numbers; {_MAX_SERIALS} can be asked about at once")
    return [_serial(text) for text in texts]


def _serial(text: str) -> bytes:
    try:
        number = int(text.removeprefix("0x")[: _SERIAL_DIGITS + 1], 16)
    except ValueError as error:
        raise ConfigError(f"{text[:60]!r} is not a serial number in hexadecimal") from error
    if number.bit_length() > _SERIAL_DIGITS * 4:
        raise ConfigError(f"{text[:60]!r}… is longer than a serial number can be")
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def register(app: typer.Typer) -> None:
    """Mount this verb."""
    app.command()(verify)
