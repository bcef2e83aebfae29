"""What members have promised to be revoked, and whether they keep to it all the while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.whole.clones import CloneSet

_PAUSE_SECONDS = 0.2
_LATEST = 2  # certificates that are asked about


class Promises:
    """A member promises a revocation when it acknowledges a CRL that has it, and when it answers `revoked`."""

    def __init__(self, site: CloneSet) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._made: set[tuple[str, str]] = set()
        self.broken: set[str] = set()

    def made(self, member: str, name: str) -> None:
        """The member has acknowledged that the certificate is revoked."""
        with self._lock:
            self._names.append(name)
            self._made.add((member, name))

    @contextmanager
    def watched(self, *members: str) -> Iterator[None]:
        """Ask the members without end of what was promised last."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(_PAUSE_SECONDS):
                for name in self._names[-_LATEST:]:
                    for member in members:
                        self._ask(member, name)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _ask(self, member: str, name: str) -> None:
        with self._lock:
            promised = (member, name) in self._made
        with suppress(OSError):  # a member that does not answer breaks no promise
            said = self._site.says(member, name)
            if said == "revoked":
                with self._lock:
                    self._made.add((member, name))
            elif said == "good" and promised:
                self.broken.add(f"{member} says that {name} is good")
