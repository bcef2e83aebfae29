"""Reading what a command is given: a file, or `-` for standard input, never more than a limit."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import output
from vouchd.core.bundles import MAX_BUNDLE_BYTES, leaf, read_bundle
from vouchd.errors import ConfigError
from vouchd.service.usercertificates import subject_text
from vouchd.signing.files import read_secret

STDIN = "-"


def read_input(name: str, max_bytes: int) -> bytes:
    """The bytes of the file `name`, or of standard input for `-`. Raises: ConfigError."""
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise ConfigError(f"{name}: larger than {max_bytes} bytes")
    return data


def read_password(password_file: Path | None, subject: Path) -> str:
    """The first line of the password file (0600), or what is typed. A password never stands on the command line."""
    if password_file is not None:
        return read_secret(password_file).decode("utf-8", "surrogateescape").split("\n", 1)[0].removesuffix("\r")
    if not sys.stdin.isatty():
        raise ConfigError(f"{subject}: its password is needed", hint="put it into a file (0600): --password-file FILE")
    return str(typer.prompt(f"password of {subject}", hide_input=True, err=True))


def read_leaf(name: str) -> bytes:
    """DER of the certificate in the file `name`; of a chain its leaf is taken, which is said. Raises: ConfigError."""
    try:
        found = read_bundle(read_input(name, MAX_BUNDLE_BYTES))
        chosen = leaf(found)
    except ValueError as error:
        raise ConfigError(
            f"{name}: not a certificate: {error}",
            hint="give one certificate as PEM or DER; openssl x509 -in FILE reads it",
        ) from error
    if len(found) > 1:
        output.note(f"{name}: a chain of {len(found)}; taken is {subject_text(chosen)}")
    return chosen.public_bytes(Encoding.DER)
