"""The store of an instance that follows a master: its facts are the master's, so nothing else may change them."""

from __future__ import annotations

from typing import NoReturn

from vouchd.errors import PermissionDenied
from vouchd.stores.sqlite.store import SqliteStore


class FollowedStore(SqliteStore):
    """Keeps the contracts of all the stores, and refuses every change but taking over the master's facts."""

    def put_authority(self, *_: object, **__: object) -> NoReturn:
        """Refused. Raises: PermissionDenied; so do all the others."""
        raise _elsewhere()

    def put_authorities(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def remove_authority(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def commit_epoch(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def commit_epochs(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def retire(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def put_quarantined(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def drop_quarantined(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def put_user(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def remove_user(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def put_keyring(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def put_approvals(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def drop_tokens(self) -> NoReturn:
        """Refused."""
        raise _elsewhere()

    def put_token(self, *_: object) -> NoReturn:
        """Refused."""
        raise _elsewhere()


def _elsewhere() -> PermissionDenied:
    return PermissionDenied(
        "this instance is a clone that follows its master: facts are changed there",
        hint="`vouchd domain members` names the master; `vouchd clone promote` makes this one the master",
    )
