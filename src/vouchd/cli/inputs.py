"""Reading what a command is given: a file, or `-` for standard input, never more than a limit."""

from __future__ import annotations

import sys
from pathlib import Path

from vouchd.errors import ConfigError

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
