"""Certificates in an NSS database (`cert9.db`, which is SQLite), by their nickname; certificates need no password."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from vouchd.errors import ConfigError

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
