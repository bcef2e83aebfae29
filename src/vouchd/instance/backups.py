"""When the last whole backup was made and proved: a small file that whoever makes backups writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from vouchd.files import PUBLIC, read_file, replace_file


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """The last backup: its file, when it was made and when it was proved (POSIX seconds, None: never).

    `error` tells why the last attempt failed, empty when it did not; `tried_at` is when that was.
    """

    file: str = ""
    made_at: int | None = None
    proved_at: int | None = None
    tried_at: int | None = None
    error: str = ""


def read_backup_record(path: Path) -> BackupRecord:
    """What is kept there; empty where nothing is. Raises: StoreUnavailable."""
    try:
        return msgspec.json.decode(read_file(path), type=BackupRecord)
    except (FileNotFoundError, msgspec.MsgspecError):
        return BackupRecord()


def write_backup_record(path: Path, record: BackupRecord) -> None:
    """Keep it in the place of the former one. Raises: StoreUnavailable."""
    replace_file(path, msgspec.json.encode(record), PUBLIC)
