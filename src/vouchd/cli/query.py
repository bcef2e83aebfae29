"""`vouchd query`: ask an OCSP responder about certificates, verify the answer, show it.

Exit code: 0 when all are good, 1 when any is revoked, else 3 when any is unknown; 69 when there is no usable answer,
76 when it cannot be relied upon.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vouchd.cli import output, replies
from vouchd.cli.asking import Outcome, ask_times, certificate_der, serial_octets, tls_context
from vouchd.cli.options import JsonOption
from vouchd.client.ocsp import Question, new_nonce, question, responder_url, serial_of
from vouchd.client.transport import Connection, Method
from vouchd.client.response_acceptance import NonceRule, Terms
from vouchd.errors import ConfigError


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
    issuer_der = certificate_der(issuer)
    files = {path: certificate_der(path) for path in certificates or []}
    names = {serial_of(der, issuer_der): str(path) for path, der in files.items()}
    serials = list(dict.fromkeys([*names, *(serial_octets(text) for text in serial or [])]))
    if not serials:
        raise ConfigError("nothing to ask about", hint="name certificate files, or --serial HEX")

    def ask() -> Question:
        return question(issuer_der, serials, digest=digest.standard_name, nonce=new_nonce() if nonce else None)

    rule = NonceRule.REQUIRE if require_nonce else NonceRule.WARN
    terms = Terms(rule, tolerance, max_age, tuple(certificate_der(path) for path in trust or []))
    address = url or _url_of(list(files.values()))
    with Connection(address, timeout_seconds=timeout, tls=tls_context(tls_ca)) as connection:
        outcome = ask_times(connection, (ask() for _ in range(times)), terms, method)
    if out is not None:
        _write(out, outcome.reply.exchange.body)
    _tell(outcome, names, json_output)


def _tell(outcome: Outcome, names: Mapping[bytes, str], json_output: bool) -> NoReturn:
    """Show the answer and leave with its exit code. Raises: VouchdError when it was not verified."""
    if json_output:
        output.as_json(replies.facts(outcome, names))
    else:
        replies.show(outcome, names)
        for warning in replies.warnings(outcome):
            output.warn(warning)
    if outcome.verified is None:
        raise outcome.failure or ConfigError("nothing was verified")
    raise typer.Exit(replies.exit_code(outcome.verified))


def _url_of(certificate_ders: list[bytes]) -> str:
    """The OCSP URL of the first certificate that has one. Raises: ConfigError."""
    found = next((url for url in map(responder_url, certificate_ders) if url), None)
    if found is None:
        raise ConfigError("no certificate names its responder", hint="say where it is: --url http://host:port/")
    return found


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
