"""Reading and writing key material on disk: modes are checked, sizes bounded, files replaced as a whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from vouchd.errors import AlreadyExists, SigningError
from vouchd.files import sync_folder

MAX_BYTES = 1 << 20
READABLE = "is the name right, and may this user read the file and its folder?"
_OTHERS = 0o077


def read_secret(path: Path) -> bytes:
    """The bytes of a file with secrets, at most 1 MiB. Raises: SigningError, also when others may read the file."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise SigningError(
                    f"{path}: holds a secret but others may read it (mode {mode & 0o7777:04o})",
                    hint=f"chmod 600 {path}",
                )
            return _bounded(path, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}", hint=READABLE) from error


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, or the one of a DER file. Raises: SigningError."""
    try:
        with path.open("rb") as file:
            data = _bounded(path, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if b"-----BEGIN" in data:
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except (ValueError, x509.InvalidVersion) as error:
        raise SigningError(f"{path}: holds no certificate in PEM or DER") from error


def _bounded(path: Path, data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise SigningError(f"{path}: larger than {MAX_BYTES} bytes")
    return data


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with `mode`, whole and durable or not at all.

    Raises: AlreadyExists when the name is taken; SigningError.
    """
    try:
        with _draft(path, data, mode) as draft:
            os.link(draft, path)  # unlike rename, it never replaces what is there
    except FileExistsError as error:
        raise AlreadyExists(f"{path}: exists already") from error
    except OSError as error:
        raise SigningError(f"{path}: cannot be written: {error.strerror}") from error


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file with `mode`, new or in place of one: readers see the old bytes or the new. Raises: SigningError."""
    try:
        with _draft(path, data, mode) as draft:
            draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise SigningError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A durable file with `data` beside `path`, gone afterwards."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
