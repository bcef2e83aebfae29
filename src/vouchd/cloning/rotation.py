"""The password of the replication account, renewed by the set itself when a member was taken out.

All members know it, and whoever has it writes into every directory server. So when one leaves, the master makes a new
one, and the others fetch it from the master, each with its own key. On each member the same few steps follow, and each
may be cut short anywhere: what is done stands in a file, and a look goes on from there.

    keep it         in password.conf, with the one before
    open the door   the account in the own directory server takes both
    move over       each agreement of the own server gets it as soon as the server at its other end takes it
    shut the door   the account takes the new one alone, `OVERLAP_SECONDS` after the door was opened

Why nothing stands still meanwhile: a server takes both while the others move over, and they do so within seconds of
each other. One that was away is let in nowhere when it comes back, and fetches the password as all did. What is sent
to it in between waits in the changelog.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import PeerClient
from vouchd.cloning.registry import master_of
from vouchd.cloning.replication import connected
from vouchd.core.facts import Member
from vouchd.core.ports import Clock, Store
from vouchd.errors import ClientError, ConfigError, StoreUnavailable
from vouchd.files import read_file, replace_file
from vouchd.settings.declared import DirectorySettings, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import REPLICATIONDB, new_password, read_passwords, replace_passwords

if TYPE_CHECKING:  # it brings an LDAP library along, which the embedded store starts without
    from vouchd.directory.connection import Connection

_log = logging.getLogger(__name__)

OVERLAP_SECONDS = 30
FORMER = f"{REPLICATIONDB}.former"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: of which members that left the password was renewed, and what was done with the present one.

    `password` is its SHA-256 (hex), `opened_at` when the own server began to take it (0: it does not yet), `moved` the
    addresses of the servers that take it, `shut` whether the one before is refused.
    """

    left: tuple[str, ...] = ()
    password: str = ""
    opened_at: int = 0
    moved: tuple[str, ...] = ()
    shut: bool = True


class Rotation:
    """Keeps the password of this member's directory server the set's, and renews it on the master."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        seals: MemberSeals,
        connect: Callable[[Member], PeerClient],
        clock: Clock,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._store = store
        self._seals = seals
        self._connect = connect
        self._clock = clock

    def look(self) -> bool:
        """Do what is due; nothing that is served changes. Raises: StoreError, ConfigError, ClientError."""
        members, directory = self._store.members(), self._settings.directory
        me = next((member for member in members if self._seals.is_own(member)), None)
        master = master_of(members)
        if directory is None or me is None or master is None:
            return False
        before = self._progress()
        left = tuple(sorted(self._seals.left))
        if before is None:  # of an earlier version, or a new member: as it is, it is everybody's
            self._keep(Progress(left, _digest(self._password())))
            return False
        progress = self._renewed(before, left) if self._seals.is_own(master) else self._fetched(before, master)
        if not progress.shut:
            self._apply(progress, [member for member in members if member.id != me.id], directory)
        return False

    def _renewed(self, progress: Progress, left: tuple[str, ...]) -> Progress:
        """The master makes a new password when a member has left since."""
        if set(left) <= set(progress.left):
            return progress
        return self._take(replace(progress, left=left), new_password())

    def _fetched(self, progress: Progress, master: Member) -> Progress:
        """A clone asks the master for it."""
        try:
            current = self._connect(master).replication_password()
        except ClientError:  # that the master is away is told of elsewhere
            return progress
        return progress if current == self._password() else self._take(progress, current)

    def _take(self, progress: Progress, password: str) -> Progress:
        """A new password is kept, to be put into use."""
        passwords = read_passwords(self._layout.password_conf)
        unused = not (progress.shut or progress.opened_at)  # the present one opens no server yet
        former = passwords[FORMER] if unused and FORMER in passwords else passwords[REPLICATIONDB]
        replace_passwords(self._layout.password_conf, passwords | {FORMER: former, REPLICATIONDB: password})
        fresh = Progress(progress.left, _digest(password), shut=False)
        self._keep(fresh)
        _log.info("the replication account has a new password")
        return fresh

    def _apply(self, progress: Progress, others: Iterable[Member], directory: DirectorySettings) -> None:
        passwords = read_passwords(self._layout.password_conf)
        password, former = passwords[REPLICATIONDB], passwords.get(FORMER, "")
        with connected(self._layout, self._settings) as own:
            if not progress.opened_at:
                _let_in(own, [password, *filter(None, [former])])
                progress = replace(progress, opened_at=self._clock.now())
                self._keep(progress)
            for member in others:
                progress = self._move(progress, member, directory, own, password)
            if self._clock.now() - progress.opened_at >= OVERLAP_SECONDS:
                _let_in(own, [password])
                self._keep(replace(progress, shut=True))
                replace_passwords(
                    self._layout.password_conf, {name: one for name, one in passwords.items() if name != FORMER}
                )

    def _move(
        self, progress: Progress, member: Member, directory: DirectorySettings, own: Connection, password: str
    ) -> Progress:
        """Have the own server use the password at the member's, once that takes it."""
        from vouchd.directory import replica  # noqa: PLC0415  the embedded store starts without it
        from vouchd.directory.config_entries import REPLICATION_DN  # noqa: PLC0415
        from vouchd.directory.connection import Connection, Credentials  # noqa: PLC0415

        peer = member.directory
        if peer is None or peer.address in progress.moved:
            return progress
        with suppress(StoreUnavailable):
            Connection(peer, Credentials(REPLICATION_DN, password), directory.trust_file).close()
            replica.agree(own, peer.suffix, peer, password, renew=True)
            progress = replace(progress, moved=(*progress.moved, peer.address))
            self._keep(progress)
        return progress

    def _password(self) -> str:
        password = read_passwords(self._layout.password_conf).get(REPLICATIONDB, "")
        if not password:
            raise ConfigError(
                f"{self._layout.password_conf}: no password of the replication account",
                hint="vouchd directory setup gives it one",
            )
        return password

    def _progress(self) -> Progress | None:
        """What stands in the file; None where there is none, or it is of another password than the present one."""
        try:
            stored = json.loads(read_file(self._layout.rotation))
            progress = Progress(**stored | {name: tuple(stored[name]) for name in ("left", "moved")})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        if progress.password == _digest(self._password()):
            return progress
        return Progress(progress.left, _digest(self._password()), shut=FORMER not in self._passwords())

    def _passwords(self) -> dict[str, str]:
        return read_passwords(self._layout.password_conf)

    def _keep(self, progress: Progress) -> None:
        replace_file(self._layout.rotation, json.dumps(asdict(progress)).encode())


def _let_in(own: Connection, passwords: Iterable[str]) -> None:
    """Have the replication account of the own server take these passwords. Raises: StoreError."""
    from vouchd.directory.account import let_in  # noqa: PLC0415  the embedded store starts without it

    let_in(own, tuple(passwords))


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
