"""password.conf: `name=password` lines, 0600, as the Certificate System keeps them."""

from __future__ import annotations

import secrets
from pathlib import Path

from vouchd.files import read_secrets, replace_file, write_new

INTERNAL = "internal"  # the password of the key files in alias/
INTERNALDB = "internaldb"  # of the instance's account in its directory server
BACKUP = "backup"  # that the instance's own backups are sealed with
REPLICATIONDB = "replicationdb"  # of the account that the servers of a set send changes with

CERTSYSTEM = "certsystem"  # of the account that reads a Certificate System's internal database


def new_password() -> str:
    """A password of 256 random bits."""
    return secrets.token_urlsafe(32)


def read_passwords(path: Path) -> dict[str, str]:
    """Passwords by name; empty when there is no file. Raises: SigningError, ConfigError; see `read_secrets`."""
    return read_secrets(path)


def write_passwords(path: Path, passwords: dict[str, str]) -> None:
    """Write a new file, 0600. Raises: AlreadyExists."""
    write_new(path, "".join(f"{name}={password}\n" for name, password in passwords.items()).encode(), 0o600)


def replace_passwords(path: Path, passwords: dict[str, str]) -> None:
    """Write the file anew, 0600: readers see the old one or the new. Raises: StoreUnavailable."""
    replace_file(path, "".join(f"{name}={password}\n" for name, password in passwords.items()).encode(), 0o600)
