"""A file is replaced whole or not at all: written beside its place, on disk, then renamed into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vouchd.errors import StoreUnavailable
from vouchd.files import sync_folder

LEFTOVER_SUFFIX = ".part"


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """A new file of mode 0600 to write; when the block ends it is durable under `path`, when it raises it is gone.

    Raises: StoreUnavailable.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{LEFTOVER_SUFFIX}")
    try:
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror or error}", hint="free space or mend permissions") from error
