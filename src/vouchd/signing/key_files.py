"""A file with keys that was carried here: owner, mode and SELinux context, each with the command that mends it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from vouchd.errors import SigningError
from vouchd.files import READABLE

_OTHERS = 0o077
_MAX_NEIGHBOURS = 1000  # that are looked at
_SELINUX = Path("/sys/fs/selinux/enforce")  # there while SELinux is on
_ATTRIBUTE = "security.selinux"


def check_key_file(path: Path, user: int | None = None) -> None:
    """Refuse a file that `user` (default: this process's) does not own or that others may use.

    Root's files are taken as well. Raises: SigningError.
    """
    me = os.geteuid() if user is None else user
    try:
        status = path.stat()
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}", hint=READABLE) from error
    if status.st_uid not in {me, 0}:
        raise SigningError(f"{path}: holds keys but belongs to user id {status.st_uid}", hint=f"chown {me} {path}")
    if status.st_mode & _OTHERS:
        mode = status.st_mode & 0o7777
        raise SigningError(f"{path}: holds keys but others may use it (mode {mode:04o})", hint=f"chmod 600 {path}")
    if me not in {status.st_uid, 0}:
        raise SigningError(f"{path}: belongs to root, so it cannot be read here", hint=f"chown {me} {path}")


def check_context(path: Path, folder: Path | None = None) -> None:
    """Refuse a file with another SELinux type than the files in `folder` (default: its own) have.

    Nothing is checked while SELinux is off. Raises: SigningError with the `chcon` line.
    """
    if not _SELINUX.exists():
        return
    others = islice((other for other in (folder or path.parent).iterdir() if other != path), _MAX_NEIGHBOURS)
    neighbours = {other: context_of(other) for other in sorted(others)}
    remedy = context_remedy(path, context_of(path), neighbours)
    if remedy:
        raise SigningError(f"{path}: its SELinux type differs from that of its neighbours", hint=remedy)


def context_of(path: Path) -> str:
    """The SELinux context, `user:role:type:level`; empty where there is none."""
    try:
        return os.getxattr(path, _ATTRIBUTE).rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return ""


def context_remedy(path: Path, context: str, neighbours: Mapping[Path, str]) -> str:
    """The `chcon` line that gives `path` the type that most neighbours have; empty when it has that, or none is known.

    Only the type decides about access in the usual policies; user, role and level may differ.
    """
    types = Counter(kind for other in neighbours.values() if (kind := _type(other)))
    if not types:
        return ""
    usual = types.most_common(1)[0][0]
    return "" if _type(context) == usual else f"chcon -t {usual} {path}"


def _type(context: str) -> str:
    fields = context.split(":")
    return fields[2] if len(fields) >= 3 else ""
