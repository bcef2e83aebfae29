"""The master seals what would not be believed by who joins now: everything once, and later what others left behind.

A set of an earlier version has no seals. The master puts one on each CA, user and member, on its own record last: from
then on every member demands them. Later it seals anew what bears the seal of a key that is no member's any more, as a
member has left or has another certificate (that something is gone, too), and after a promotion the users.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.registry import master_of
from vouchd.cloning.seals import Record
from vouchd.core.ports import APPROVALS_KIND, CA_KIND, KEYRING_KIND, MEMBER_KIND, USER_KIND, Store
from vouchd.errors import StoreConflict

_log = logging.getLogger(__name__)


def reseal(seals: MemberSeals, store: Store) -> int:
    """Seal what needs it, on the master or an instance that is in no set; how many records those were.

    Raises: StoreUnavailable, ConfigError, SigningError.
    """
    members = store.members()
    master = master_of(members)
    if members and (master is None or not seals.is_own(master)):
        return 0
    seals.enforce()
    if not seals.enforced:  # it has no key of its own yet
        return 0
    authorities, users, members = store.authorities(), store.users(), store.members()
    keyring, approvals = store.keyring(), store.approvals()
    count = 0
    for authority in authorities:
        count += _sealed(seals, CA_KIND, authority.id, partial(store.put_authority, authority))
    for user in users:
        count += _sealed(seals, USER_KIND, user.id, partial(store.put_user, user, user))
    count += _sealed(seals, KEYRING_KIND, KEYRING_KIND, partial(store.put_keyring, keyring, keyring))
    count += _sealed(seals, APPROVALS_KIND, APPROVALS_KIND, partial(store.put_approvals, approvals, approvals))
    count += _sealed_away(seals, store)
    for member in sorted(members, key=seals.is_own):
        count += _sealed(seals, MEMBER_KIND, member.id, partial(store.put_member, member, member))
    if count:
        _log.info("sealed %d records in the directory", count)
    return count


def _sealed_away(seals: MemberSeals, store: Store) -> int:
    """Seal anew what others have removed and who joins now would not take their word for; how much that was."""
    stored: Callable[[], tuple[Record, ...]] | None = getattr(store, "removals", None)
    put: Callable[[Record], None] | None = getattr(store, "put_removal", None)
    if stored is None or put is None:
        return 0
    lapsed = seals.lapsed(stored())
    for removal in lapsed:
        put(removal)
    return len(lapsed)


def _sealed(seals: MemberSeals, kind: str, identifier: str, put: Callable[[], None]) -> int:
    if seals.is_lasting(kind, identifier):
        return 0
    with suppress(StoreConflict):  # somebody changes it: it is looked at again
        put()
        return 1
    return 0
