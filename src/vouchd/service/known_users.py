"""The users as they were known last: for the time while the store is away, and to see who has become an administrator.

Who comes to the agent port is looked up in the store. While it is away, which is when the pages are needed most, the
users of the last time it was in reach come in to read, and nobody changes anything on the strength of them. They stand
in a private file, so that a restart in that time locks nobody out.

An administrator that was none before leaves a record in the audit log of each member that sees it, so that it is seen
by those who did not make it one. One whom the master did not make one comes out of no directory (cloning/seals).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from vouchd.core import records
from vouchd.core.facts import Caller, Group, User
from vouchd.core.ports import AuditSink
from vouchd.errors import StoreError
from vouchd.files import read_file, replace_file

EVENT = "CONFIG_ROLE"
_MAX_BYTES = 1 << 30  # 10,000 users with all the certificates that each may have
STORE = Caller("store", origin="store")


class KnownUsers:
    """Keeps what `users` reads of the store in the file `path`; blocking, for several threads."""

    def __init__(self, users: Callable[[], tuple[User, ...]], path: Path, audit: AuditSink) -> None:
        self._users = users
        self._path = path
        self._audit = audit
        self._lock = threading.Lock()
        self._known: tuple[User, ...] | None = None

    def look(self) -> bool:
        """Read the store, record who has become an administrator, keep what was read; nothing served is changed.

        Raises: StoreUnavailable.
        """
        users = self._users()
        with self._lock:
            before = self._recall()
            if users == before:
                return False
            if before is not None:
                self._record(before, users)
            replace_file(self._path, json.dumps({"users": [records.user_record(user) for user in users]}).encode())
            self._known = users
        return False

    def users(self) -> tuple[User, ...]:
        """The users known last, by id; none when nothing was ever known."""
        with self._lock:
            return self._recall() or ()

    def by_certificate(self) -> dict[bytes, User]:
        """The users known last, by certificate (DER); none when nothing was ever known."""
        with self._lock:
            return {der: user for user in self._recall() or () for der in user.certificates}

    def _recall(self) -> tuple[User, ...] | None:
        if self._known is None:
            try:
                self._known = records.from_json(read_file(self._path, _MAX_BYTES), _read)
            except (FileNotFoundError, StoreError):
                return None
        return self._known

    def _record(self, before: tuple[User, ...], users: tuple[User, ...]) -> None:
        former = {user.id: set(user.certificates) for user in before if _is_administrator(user)}
        for user in filter(_is_administrator, users):
            if not set(user.certificates) <= former.get(user.id, set()) or user.id not in former:
                detail = {"target": user.id, "operation": "seen in the store", "groups": ", ".join(sorted(user.groups))}
                self._audit.record(EVENT, STORE, "success", **detail)


def _read(stored: records.Record) -> tuple[User, ...]:
    return tuple(map(records.read_user, stored["users"]))


def _is_administrator(user: User) -> bool:
    return user.enabled and Group.ADMINISTRATORS in user.groups
