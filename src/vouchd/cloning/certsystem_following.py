"""Following a Certificate System's OCSP manager: CAs and CRLs out of its internal database, or a replica of that.

How it works. A persistent search of the directory server tells that something below the suffix changed; then the names
and update numbers of all entries of issuing points are read, and the entries whose number is another one as a whole.
What comes is judged like a push: a CA is registered when a signer here may answer for it, a CRL when the CA has signed
it, its scope is ours and it is not older than what is served. Nothing is read of it but certificates and CRLs.

Why it is right:

- The search is a hint. What changed is found by the numbers, which the server gives to replicated changes too; a search
  that broke, or was silent for half a minute, is followed by a look.
- There is no gap. The first look comes after the search stood.
- An entry that is refused costs itself: the others are taken, its number is known, so that it is tried again only when
  it changes or after a minute, and the state of this source says why.
- A CA or a CRL that is gone there stays here: a database may be filled anew, and a revocation must not be forgotten for
  it. Taking a CA away is an operator's act here too; `vouchd clone verify` says where the two differ.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from vouchd.cloning.adoption import register
from vouchd.core.facts import Caller, Group
from vouchd.core.ports import Clock, StatusStore
from vouchd.directory.connection import Connection, Connections
from vouchd.directory.foreign import ForeignMark, ForeignPoint, foreign_marks, foreign_point
from vouchd.errors import ConfigError, CRLQuarantined, CRLStale, StoreUnavailable, VouchdError
from vouchd.pkix.certs import load_certificate, subject_der
from vouchd.service.authorities import Authorities
from vouchd.service.ingesting import Ingesting
from vouchd.service.pulling import Pulling, Schedule, SourceState
from vouchd.stores.ldap.persistent_search import Notices

NAME = "certificate-system"
WAIT_SECONDS = 25.0
_AGAIN_SECONDS = 60.0  # after which an entry that was refused is tried again
_RETRY = Schedule(interval_seconds=60, retry_seconds=1, retry_cap_seconds=30)


class CertificateSystemFollowing(Pulling):
    """A source that waits for changes instead of asking now and then; see `service.pulling`."""

    def __init__(
        self,
        connections: Connections,
        store: StatusStore,
        authorities: Authorities,
        ingesting: Ingesting,
        lock: Callable[[], AbstractContextManager[None]],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connections` are those of the reader; all CRLs are taken in under `lock`."""
        server = connections.server
        self.host = server.host
        url = f"ldap://{server.host}:{server.port}/{server.suffix}"
        self.state = SourceState(NAME, url)
        self._connections = connections
        self._suffix = server.suffix
        self._store = store
        self._authorities = authorities
        self._ingesting = ingesting
        self._lock = lock
        self._clock = clock
        self._monotonic = monotonic
        self._caller = Caller(NAME, frozenset({Group.AGENTS}), url)
        self._notices: Notices | None = None
        self._known: dict[str, ForeignMark] = {}
        self._refused: dict[str, tuple[float, VouchdError]] = {}  # since when, by DN
        self._alone = threading.Lock()

    def attempt(self, now: int) -> SourceState:
        """Wait for a change and take it over; returns the new state. Blocks for half a minute at most."""
        self._note(attempts=self.state.attempts + 1, last_attempt=now)
        try:
            if self._notices is None:
                self._notices = Notices(
                    self._connections.dedicated(), self._suffix, "(objectClass=crlIssuingPointRecord)"
                )
            elif not self._refused_are_due():
                self._notices.wait(WAIT_SECONDS)
            accepted = self.look()
        except VouchdError as error:
            self._close()
            failures = self.state.failures + 1
            due = _RETRY.after_failure(NAME, self.state.attempts, now, failures)
            self._note(failures=failures, last_error=_words(error), next_attempt=due)
            return self.state
        refused = [f"{dn}: {error}" for dn, (_, error) in sorted(self._refused.items())]
        self._note(
            failures=0,
            last_error="; ".join(refused),
            last_success=self._clock.now(),
            next_attempt=0,
            accepted=self.state.accepted + accepted,
            not_modified=self.state.not_modified + (not accepted),
        )
        return self.state

    def look(self) -> int:
        """Take over what is another thing than at the last look; how many CRLs were new. Raises: StoreError."""
        with self._alone, self._connections.connection() as connection:
            marks = foreign_marks(connection, self._suffix)
            for dn in self._known.keys() - marks.keys():
                del self._known[dn]
                self._refused.pop(dn, None)
            return sum(self._take_entry(connection, dn, mark) for dn, mark in marks.items() if self._is_news(dn, mark))

    def _is_news(self, dn: str, mark: ForeignMark) -> bool:
        if self._known.get(dn) != mark:
            return True
        refused = self._refused.get(dn)
        return refused is not None and self._monotonic() - refused[0] >= _AGAIN_SECONDS

    def _refused_are_due(self) -> bool:
        return any(self._monotonic() - since >= _AGAIN_SECONDS for since, _ in self._refused.values())

    def _take_entry(self, connection: Connection, dn: str, mark: ForeignMark) -> int:
        point = foreign_point(connection, dn)
        accepted = 0
        self._refused.pop(dn, None)
        try:
            if point is not None:
                for crl in self._new_crls(point):
                    accepted += self._accept_crl(crl, dn)
        except StoreUnavailable:
            raise
        except VouchdError as error:
            self._refused[dn] = (self._monotonic(), error)
        self._known[dn] = mark
        return accepted

    def _new_crls(self, point: ForeignPoint) -> Iterator[bytes]:
        """Register the CA where it is new; the CRLs that are not served already. Raises: VouchdError."""
        if not point.certificates:
            raise ConfigError("no certificate of a CA can be read there", hint="vouchd authority add")
        served: set[str] = set()
        for certificate in point.certificates:
            name = subject_der(load_certificate(certificate))
            present = [one for one in self._store.authorities_of(name) if certificate in one.certificates]
            authorities = present or [register(self._authorities, certificate, self._caller).subject]
            for authority in authorities:
                epochs = self._store.epochs_of(authority.id)
                served |= {record.sha256 for epoch in epochs for record in epoch.records}
        yield from (crl for crl in point.crls if hashlib.sha256(crl).hexdigest() not in served)

    def _accept_crl(self, crl: bytes, dn: str) -> int:
        try:
            with self._lock():
                self._ingesting.accept_crl(crl, f"{self.state.url} {dn}", self._caller, self._clock.now())
        except CRLStale:  # a newer one came another way
            return 0
        except CRLQuarantined:  # held back, which an operator sees and decides
            return 0
        return 1

    def _close(self) -> None:
        if self._notices is not None:
            self._notices.close()
            self._notices = None


def _words(error: VouchdError) -> str:
    return f"{type(error).__name__}: {error}"
