"""CRLs between being looked at and being confirmed, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vouchd.errors import NotFound

KEEP_SECONDS = 900
MAX_STAGED = 8


@dataclass(frozen=True, slots=True)
class Staged:
    """One CRL as it was given, whose it is and when it came (POSIX seconds)."""

    user: str
    crl: bytes
    at: int


class Staging:
    """One CRL per user, few altogether and not for long; what is dropped is pasted again."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._files: dict[str, Staged] = {}

    def put(self, user: str, crl: bytes, at: int) -> str:
        """Hold the CRL for `user` in place of the one before; returns the name to take it by."""
        self._expire(at)
        self._files = {name: staged for name, staged in self._files.items() if staged.user != user}
        name = hashlib.sha256(crl).hexdigest()
        self._files[f"{user} {name}"] = Staged(user, crl, at)
        while (
            len(self._files) > MAX_STAGED or sum(len(staged.crl) for staged in self._files.values()) > self._max_bytes
        ):
            self._files.pop(next(iter(self._files)))
        return name

    def take(self, user: str, name: str, at: int) -> bytes:
        """The CRL that `user` has put there, which is held no longer. Raises: NotFound."""
        self._expire(at)
        staged = self._files.pop(f"{user} {name}", None)
        if staged is None:
            raise NotFound("the CRL is not held any more", hint="give it once more")
        return staged.crl

    def _expire(self, at: int) -> None:
        self._files = {name: staged for name, staged in self._files.items() if staged.at + KEEP_SECONDS > at}
