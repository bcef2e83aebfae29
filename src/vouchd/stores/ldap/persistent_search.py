"""News of one's own directory server: a persistent search (draft-ietf-ldapext-psearch-03) in a thread of its own.

The server keeps the search open and sends an entry for each change below the suffix, replicated ones included. How it
works: a connection of its own, one search for the entries that hold facts, then `result4` with a time-out of a second,
so that a request to stop is noticed; each entry that comes is a call of `changed`, whatever it says.

Why this is right:

- It is a hint, no message. Nobody looks at what the entry says: `changed` makes the store watch compare the revision
  and read all facts anew. So it does not matter whether changes come together, twice, or in another order.
- It may fail at any time. The store watch asks for the revision once a second all the same; without the search a change
  is seen a moment later, and nothing else is lost.
- There is no gap when it begins. `changesOnly` leaves out what is there already, and changes may have come between the
  last look and the moment when the search stood, so `changed` is called once when it stands, after each new connection.
- It does not tell of chunks of documents: they come before the fact that names them, and would cause a look for each
  megabyte of a CRL.
- It ends. The thread is a daemon and looks every second whether to stop; a server that hangs keeps neither the manager
  from ending nor the next search from being made, because each has a connection of its own.
- A server that is away is asked again after 0.2 seconds up to 5, and the log has one line for it, not one a try.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable

from vouchd.directory.connection import Connection, Connections
from vouchd.errors import VouchdError

_log = logging.getLogger(__name__)

# Facts only: chunks of documents come before the fact that names them.
_FACTS = "".join(f"(objectClass={name})" for name in ("vouchdIssuingPoint", "vouchdPeople", "vouchdDomain"))
FILTER = f"(|{_FACTS}(objectClass=vouchdDomainMember))"
_LOOK_UP_SECONDS = 1.0  # between looks at whether to stop
_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


def watch(connections: Connections, suffix: str, changed: Callable[[], None]) -> Callable[[], None]:
    """Call `changed` from a thread of its own after changes below `suffix`, until the function returned is called."""
    watcher = _Watcher(connections, suffix, changed)
    thread = threading.Thread(target=watcher.run, name="directory watch", daemon=True)
    thread.start()

    def stop() -> None:
        watcher.stopped.set()
        thread.join(_LOOK_UP_SECONDS + 1)

    return stop


class Notices:
    """A persistent search for entries that `query` names, on a connection that becomes its own."""

    def __init__(self, connection: Connection, base: str, query: str) -> None:
        """Begins it. Raises: StoreUnavailable, ConfigError."""
        self._connection = connection
        self._base = base
        psearch = importlib.import_module("ldap.controls.psearch")
        control = psearch.PersistentSearchControl(
            criticality=True, changeTypes=["add", "modify", "delete", "modDN"], changesOnly=True, returnECs=False
        )
        with connection.translating(base):
            self._search = connection.raw.search_ext(
                base, connection.ldap.SCOPE_SUBTREE, query, ["1.1"], serverctrls=[control], timeout=-1
            )

    def wait(self, seconds: float) -> bool:
        """Wait for a change; whether there was one. Raises: StoreUnavailable."""
        ldap = self._connection.ldap
        with self._connection.translating(self._base):
            try:
                _, data, *_ = self._connection.raw.result4(self._search, all=0, timeout=seconds)
            except ldap.TIMEOUT:
                return False
        return bool(data)

    def close(self) -> None:
        """End it, with its connection."""
        self._connection.close()


class _Watcher:
    def __init__(self, connections: Connections, suffix: str, changed: Callable[[], None]) -> None:
        self._connections = connections
        self._suffix = suffix
        self._changed = changed
        self.stopped = threading.Event()

    def run(self) -> None:
        """Search, and search again when the connection breaks."""
        failures = 0
        while not self.stopped.is_set():
            try:
                connection = self._connections.dedicated()
                try:
                    failures = 0
                    self._follow(connection)
                finally:
                    connection.close()
            except VouchdError as error:
                if not failures:
                    _log.warning("no news from the directory: %s", error)
                pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
                failures += 1
                self.stopped.wait(pause)

    def _follow(self, connection: Connection) -> None:
        notices = Notices(connection, self._suffix, FILTER)
        self._changed()  # there may have been changes before the search stood
        while not self.stopped.is_set():
            if notices.wait(_LOOK_UP_SECONDS):
                self._changed()
