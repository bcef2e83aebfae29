"""`OCSPClient`: the Certificate System's command of that name, with the documented options that have a meaning here.

Its lines on stdout are the same, so scripts that read them go on working; unlike there, an answer is verified before
it is shown. The exit code is 0 whatever the status is.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from vouchd.cli import output
from vouchd.cli.certificate_files import read_issuer
from vouchd.cli.options import read_input
from vouchd.cli.query import serial_octets
from vouchd.client.inquiry import Question, Reply, question, question_from_request, send
from vouchd.client.response_acceptance import require_answer
from vouchd.client.response_facts import SingleResponse
from vouchd.client.transport import Connection, Method
from vouchd.clock import SystemClock
from vouchd.errors import ConfigError
from vouchd.files import write_output
from vouchd.pkix.reasons import reason_text

MAX_REQUEST_BYTES = 1 << 20
_OLD_WORDS = (7, 8)
_SUFFIXES = ("", ".crt", ".pem", ".cer", ".der")

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["--help"]}, rich_markup_mode=None)


@app.command()
def ocsp_client(
    old: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST PORT DIR NICKNAME SERIAL_OR_FILE OUTPUT TIMES [PATH]]",
            help="The same without options, as older versions have it.",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        Path, typer.Option("-d", metavar="DIR", help="NSS database, or folder of CA certificates (PEM or DER).")
    ] = Path(),
    host: Annotated[str, typer.Option("-h", metavar="HOST", help="The responder's host.")] = "localhost",
    port: Annotated[int, typer.Option("-p", metavar="PORT", min=1, max=65535, help="Its port.")] = 8080,
    path: Annotated[str, typer.Option("-t", metavar="PATH", help="Its path.")] = "/ocsp/ee/ocsp",
    issuer: Annotated[
        str, typer.Option("-c", metavar="NICKNAME", help="CA certificate: a file, or the name of one in -d DIR.")
    ] = "",
    times: Annotated[int, typer.Option("-n", metavar="TIMES", min=1, help="Number of submissions.")] = 1,
    serial: Annotated[str, typer.Option("--serial", metavar="SERIAL", help="Decimal, or hexadecimal as 0x1f.")] = "",
    request: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="OCSP request in DER to send.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where the answer's DER goes.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tell what is done.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tell all, with the bytes sent and received.")] = False,
) -> None:
    """Ask an OCSP responder about one certificate; SHA-1 CertID, no nonce, POST.

    Example: OCSPClient -d alias -h ocsp.example.test -p 8080 -c ca_signing --serial 1
    """
    if old:
        host, port, database, issuer, serial, request, response, times, path = _without_options(old, path)
    issuer_der = _issuer(database, issuer) if issuer else None
    inquiry = _question(issuer_der, serial, request)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/{path.lstrip('/')}"
    body = b""
    with Connection(url) as connection:
        for _ in range(times):
            if verbose or debug:
                output.note(f"submitting {len(inquiry.request_der)} bytes to {url}")
            reply = send(connection, inquiry, Method.POST)
            body = reply.exchange.body
            if debug:
                _tell_all(reply)
            _show(reply, verbose or debug)
    if response is not None:
        write_output(response, body)
        output.say(f"Success: Output {response}")


class _Old(NamedTuple):
    """What older versions take in this order."""

    host: str
    port: int
    database: Path
    issuer: str
    serial: str
    request: Path | None
    response: Path
    times: int
    path: str


def _without_options(words: list[str], path: str) -> _Old:
    """The arguments of the old syntax, in which a file stands where a serial could. Raises: ConfigError."""
    if len(words) not in _OLD_WORDS:
        raise ConfigError(
            f"{len(words)} arguments where options, or {_OLD_WORDS[0]} or {_OLD_WORDS[1]} arguments are taken",
            hint="OCSPClient --help shows them",
        )
    host, port, database, issuer, serial, response, times = words[:7]
    if not (port.isdecimal() and 0 < int(port) < 1 << 16 and times.isdecimal() and int(times)):
        raise ConfigError(f"{port} and {times}: where the port and the number of submissions stand")
    file = Path(serial)
    named = file if file.is_file() else None
    return _Old(
        host,
        int(port),
        Path(database),
        issuer,
        "" if named else serial,
        named,
        Path(response),
        int(times),
        words[7] if len(words) > 7 else path,
    )


def _issuer(database: Path, nickname: str) -> bytes:
    """DER of the CA that -c names. Raises: ConfigError."""
    candidates = [Path(nickname), *(database / f"{nickname}{suffix}" for suffix in _SUFFIXES)]
    file = next((path for path in candidates if path.is_file()), None)
    if file is not None:
        return read_issuer(str(file))
    der = nss_certificate(database, nickname)
    if der is None:
        raise ConfigError(
            f"there is no CA certificate {nickname}",
            hint=f"a file, NAME of {database}/NAME.crt (.pem, .cer, .der), or a nickname of {database}/{FILE}",
        )
    return der


def _question(issuer_der: bytes | None, serial: str, request: Path | None) -> Question:
    if request is not None:
        return question_from_request(read_input(str(request), MAX_REQUEST_BYTES), issuer_der)
    if not serial:
        raise ConfigError("nothing to ask about", hint="give --serial SERIAL, or --input FILE")
    if issuer_der is None:
        raise ConfigError("a serial number means nothing without its CA", hint="name the CA with -c")
    return question(issuer_der, [serial_octets(serial, base=10)], digest="SHA-1")


def _show(reply: Reply, verbose: bool) -> None:
    """The two lines for each certificate, after verification where the CA is known."""
    if reply.question.issuer is None:
        output.warn("the answer is not verified", "name the CA with -c")
        singles: tuple[SingleResponse, ...] = require_answer(reply.response).singles
    else:
        verified = reply.verify(SystemClock().now())
        singles = verified.singles
        if verbose:
            for warning in verified.warnings:
                output.warn(warning)
    for single in singles:
        output.say(f"CertID.serialNumber={int.from_bytes(single.cert_id.serial, 'big', signed=True)}")
        output.say(f"CertStatus={single.status.value.capitalize()}")
        if verbose and single.reason is not None:
            output.note(f"revoked at {output.when(single.revocation_time)}, reason {reason_text(single.reason)}")


def _tell_all(reply: Reply) -> None:
    exchange = reply.exchange
    output.note(f"request {reply.question.request_der.hex()}")
    output.note(f"HTTP {exchange.http_status} in {exchange.seconds * 1000:.1f} ms")
    for name, value in exchange.headers:
        output.note(f"{name}: {value}")
    output.note(f"response {exchange.body.hex()}")


def main() -> None:
    """Run the command; every error ends in words and an exit code."""
    output.run_to_its_end(app)


FILE = "cert9.db"
# PKCS #11 numbers its attributes, and the database names its columns after them: CKA_CLASS, CKA_LABEL, CKA_VALUE.
_QUERY = "SELECT a11 FROM nssPublic WHERE a0 = x'00000001' AND a3 = ?"


def nss_certificate(folder: Path, nickname: str) -> bytes | None:
    """DER of the certificate of that nickname, None where there is no database or it has none of that name.

    Raises: ConfigError when there is something else of the database's name.
    """
    database = folder / FILE
    if not database.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute(_QUERY, (nickname.encode(),)).fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"{database}: not an NSS database: {error}") from error
    return bytes(row[0]) if row else None
