"""Where the PIN of a token comes from: password.conf, or a command that prints it; never an argument or a variable."""

from __future__ import annotations

import shlex
import subprocess

from vouchd.errors import SigningError, VouchdError
from vouchd.files import read_secret, read_secrets
from vouchd.signing.token.reference import TokenPlace

COMMAND_SECONDS = 10.0
_MAX_CHARACTERS = 255


def read_pin(place: TokenPlace) -> str:
    """The PIN of the token as its source has it now. Raises: SigningError, which never quotes it."""
    if place.pin_command:
        pin = _printed(place.pin_command)
    elif place.pin_file is not None:
        pin = read_secret(place.pin_file).decode("utf-8", "replace").split("\n", 1)[0].removesuffix("\r")
    else:
        pin = _kept(place)
    if not 0 < len(pin) <= _MAX_CHARACTERS:
        raise SigningError(f"token {place.label}: its PIN is empty, or of more than {_MAX_CHARACTERS} characters")
    return pin


def _kept(place: TokenPlace) -> str:
    try:
        pin = read_secrets(place.passwords).get(place.name)
    except VouchdError as error:
        raise SigningError(f"token {place.label}: {error}", hint=error.hint) from error
    if pin is None:
        raise SigningError(
            f"{place.passwords}: no PIN of the token {place.label}", hint=f"add a line {place.name}=PIN (mode 0600)"
        )
    return pin


def _printed(command: str) -> str:
    """The first line that the command prints; what it says on stderr is dropped, lest the PIN be in it."""
    try:
        arguments = shlex.split(command)
        done = subprocess.run(  # noqa: S603  the operator's own command, without a shell
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        raise SigningError(
            f"the command that prints the PIN failed: {command.split(' ', 1)[0]}", hint="run it by hand"
        ) from None
    return done.stdout.decode("utf-8", "replace").split("\n", 1)[0].removesuffix("\r")
