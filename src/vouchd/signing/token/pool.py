"""Sessions of one token for all who sign with its keys: repaired when they break, out of use while the token fails.

Signatures that are wanted at the same time go to a session in lots, of as many as the token makes in a few
milliseconds: one of a network HSM, thirty of a quick one. Two lots may be with a session, so that the token need not
wait while the answer to the first is looked at; a lot waits for a free place until its deadline. A session that does
not answer in time, or whose process ends, is closed, which ends the process wherever it hangs; a thread opens another
one and proves it by a signature of each key before it is used. While no session can be opened every signature fails at
once, instead of waiting in vain, and the thread tries again at growing distances of at most a second. So a token that
comes back is used again within two seconds, by nobody's act.

Every signature is verified before it is given away: what a failing device returns is never an answer.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import load_der_public_key

from vouchd.clock import SystemClock
from vouchd.errors import NotFound, TokenUnavailable
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for, verifier
from vouchd.signing.token.reference import TokenPlace
from vouchd.signing.token.session import Launcher, Session

OPEN_SECONDS = 10.0  # a session: start, log in, prove
LOOK_SECONDS = 5.0
# How long a token may sign of one lot, by experience, how many signatures that are at most, and over how many octets:
# what two lots take fits into the buffer of a socket.
LOT_SECONDS = 0.003
MOST_TOGETHER = 32
LOT_BYTES = 32 << 10
# Lots with a session: a second one only where so many signatures fit into the deadline that it may wait for the first.
_PLACES, _QUICK = 2, 8
_TRIAL = b"a trial signature of vouchd"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sessions a process has with a token, and how long a signature may take.

    Who tries a key out waits `open_seconds` for the first session besides; who answers strangers does not.
    """

    sessions: int = 2
    sign_seconds: float = 2.0
    open_seconds: float = OPEN_SECONDS


@dataclass(frozen=True, slots=True)
class PoolState:
    """Sessions that are open, of how many; why none can be opened.

    `failure` is what failed last, at POSIX seconds `failed_at` (0: nothing has).
    """

    sessions: int
    most_sessions: int
    problem: str = ""
    failed_at: int = 0
    failure: str = ""


class SessionPool:
    """This process's sessions with the token at `place`, which `launcher` starts.

    `lost` is called when the launcher is gone and this process cannot start another one: it is of no use any more.
    """

    def __init__(self, place: TokenPlace, limits: Limits, lost: Callable[[], None] | None = None) -> None:
        self.place = place
        self._lost = lost
        self._limits = limits
        self.launcher = Launcher(place)
        self._keys: dict[bytes, None] = {}  # DER of the public keys that sessions are proved with
        self._state = threading.Condition()
        self._sessions: dict[Session, int] = {}  # those that are open, with how many lots
        self._pace = 0.0  # seconds for a signature, as of the last lot; 0: there was none
        self._verifiers: dict[tuple[bytes, str], Callable[[bytes, bytes], None]] = {}
        self._problem: TokenUnavailable | None = None
        self._failed_at, self._failure = 0, ""
        self._repairing = False
        self._next_look = 0.0

    def start(self) -> None:
        """Start what starts sessions, while this process still may. Raises: TokenUnavailable."""
        self.launcher.start()

    @property
    def problem(self) -> TokenUnavailable | None:
        """Why the token cannot be used now, as far as is known."""
        with self._state:
            return None if self._sessions else self._problem

    @property
    def state(self) -> PoolState:
        """How it does."""
        with self._state:
            problem = "" if self._sessions or self._problem is None else str(self._problem)
            return PoolState(len(self._sessions), self._limits.sessions, problem, self._failed_at, self._failure)

    def look(self) -> None:
        """Have a thread see whether the token signs, when nobody has lately: `problem` tells what came of it."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            threading.Thread(target=_look, args=(weakref.ref(self),), name="token", daemon=True).start()

    def await_session(self, within_seconds: float) -> None:
        """Wait until a session is open, or it is known why none can be; it is no error when that takes longer."""
        with self._state:
            self._repair()
            self._state.wait_for(lambda: self._sessions or self._problem is not None, within_seconds)

    def try_out(self) -> None:
        """Sign with a key. Raises: TokenUnavailable; NotFound."""
        for public_der in tuple(self._keys)[:1]:
            algorithm = algorithms_for(load_der_public_key(public_der))[0]
            self.sign(public_der, algorithm, _TRIAL, time.monotonic() + self._limits.sign_seconds)

    @property
    def burden(self) -> tuple[bool, int]:
        """Whether it is out of use, and how many signatures are under way: whom to ask first."""
        with self._state:
            return self._problem is not None and not self._sessions, sum(self._sessions.values())

    @property
    def together(self) -> int:
        """How many signatures are best asked for at once, if so many are wanted."""
        pace = self._pace
        return max(1, min(MOST_TOGETHER, int(LOT_SECONDS / pace))) if pace else 1

    @property
    def _idle(self) -> list[Session]:
        return [session for session, lots in self._sessions.items() if not lots]

    def use(self, public_der: bytes) -> None:
        """Have sessions prove this key, too, when they are opened."""
        self._keys[public_der] = None

    def sign(self, public_der: bytes, algorithm: str, data: bytes, until: float) -> bytes:
        """The signature by the key of that public key, verified, before the monotonic time `until`; see `sign_all`."""
        return self.sign_all(public_der, algorithm, [data], until)[0]

    def sign_all(self, public_der: bytes, algorithm: str, wanted: Sequence[bytes], until: float) -> list[bytes]:
        """The signatures by the key of that public key over all that is wanted; see `sign_in_lots`."""
        return [one for lot in self.sign_in_lots(public_der, algorithm, wanted, until) for one in lot]

    def sign_in_lots(
        self, public_der: bytes, algorithm: str, wanted: Sequence[bytes], until: float
    ) -> Iterator[list[bytes]]:
        """The signatures over all that is wanted, each verified, in its order, in lots as the token makes them.

        The first lot is there before the monotonic time `until`, each further one has as long from when it is asked
        for. The wait for a first session, where the limits allow one, comes on top. Raises: TokenUnavailable; NotFound
        when the token does not hold the key.
        """
        begun = time.monotonic()
        if self._limits.open_seconds:
            self.await_session(self._limits.open_seconds)
            until += time.monotonic() - begun
        made = 0
        while made < len(wanted):
            begun = time.monotonic()
            signatures = self._signed(public_der, algorithm, _lot(wanted, made), until)
            made += len(signatures)
            until += time.monotonic() - begun
            yield signatures

    def _signed(self, public_der: bytes, algorithm: str, lot: Sequence[bytes], until: float) -> list[bytes]:
        """The signatures over the first of a lot, one at least, by whichever session makes them."""
        error = TokenUnavailable(f"token {self.place.label}: no signature")
        for _ in range(self._limits.sessions + 1):
            session = self._take(until)
            try:
                signatures = session.sign_lot(public_der, algorithm, lot, until)
                self._check(public_der, algorithm, signatures, lot)
            except NotFound:
                self._give(session)
                raise
            except TokenUnavailable as caught:
                error, late = caught, time.monotonic() >= until
                self._drop(session, caught, is_problem=late)
                if late:
                    break
            else:
                self._give(session)
                return signatures
        raise error

    def _check(self, public_der: bytes, algorithm: str, signatures: Sequence[bytes], lot: Sequence[bytes]) -> None:
        if not 0 < len(signatures) <= len(lot):  # of none the rest of the lot would be asked for without end
            raise TokenUnavailable(f"token {self.place.label}: {len(signatures)} signatures for {len(lot)} asked for")
        check = self._verifiers.get((public_der, algorithm))
        if check is None:
            check = verifier(load_der_public_key(public_der), ALGORITHMS[algorithm].identifier_der)
            self._verifiers[public_der, algorithm] = check
        try:
            for signature, data in zip(signatures, lot, strict=False):  # what is left of the lot is asked for again
                check(signature, data)
        except ValueError as error:
            raise TokenUnavailable(f"token {self.place.label}: it returned a signature that does not verify") from error

    def _take(self, until: float) -> Session:
        late = TokenUnavailable(f"token {self.place.label}: no session was free in time")
        with self._state:
            self._repair()
            if time.monotonic() >= until:  # a session would break for nothing
                raise late
            while (session := self._least_busy()) is None:
                if self._problem is not None and not self._sessions:
                    raise TokenUnavailable(str(self._problem), hint=self._problem.hint)
                left = until - time.monotonic()
                if left <= 0 or not self._state.wait(left):
                    raise late
            self._sessions[session] += 1
            return session

    def _least_busy(self) -> Session | None:
        """The session with the fewest lots, if it may have one more."""
        session = min(self._sessions, key=self._sessions.__getitem__, default=None)
        if session is None:
            return None
        places = _PLACES if 0 < _QUICK * self._pace <= self._limits.sign_seconds else 1
        return session if self._sessions[session] < places else None

    def _give(self, session: Session) -> None:
        with self._state:
            self._pace = session.pace
            if session in self._sessions:  # else it broke at the hands of somebody else
                self._sessions[session] -= 1
            self._state.notify_all()  # a session that has become quick has two places

    def _drop(self, session: Session, error: TokenUnavailable, *, is_problem: bool) -> None:
        """End a session that failed; after a problem, where it was the last, the token is out until one is proved."""
        session.close()
        with self._state:
            if self._sessions.pop(session, None) is None:
                return  # somebody else has
            self._note(error)
            if not self._sessions:
                self._problem = error if is_problem else None
            self._state.notify_all()
            self._repair()

    def _note(self, error: TokenUnavailable) -> None:
        self._failed_at, self._failure = SystemClock().now(), str(error)

    # Opening, by a thread that is there as long as sessions are missing.

    def _repair(self) -> None:
        if not self._repairing and len(self._sessions) < self._limits.sessions:
            self._repairing = True
            threading.Thread(target=_repair, args=(weakref.ref(self),), name="token", daemon=True).start()

    def open_missing(self) -> float | None:
        """Open one of the sessions that are missing; after how many seconds to go on, None: none is missing."""
        with self._state:
            if len(self._sessions) >= self._limits.sessions:
                self._repairing = False
                return None
        try:
            session = self._proved()
        except TokenUnavailable as error:
            with self._state:
                self._problem = error
                self._note(error)
                self._state.notify_all()
            if self.launcher.is_lost and self._lost is not None:
                self._lost()
            return _LONGEST_PAUSE_SECONDS
        with self._state:
            self._sessions[session] = 0
            self._problem = None
            self._state.notify_all()
        return 0.0

    def _proved(self) -> Session:
        """A new session, its keys proved by a signature of each. Raises: TokenUnavailable."""
        until = time.monotonic() + OPEN_SECONDS
        session = self.launcher.open(OPEN_SECONDS)
        try:
            for public_der in tuple(self._keys):
                try:
                    session.find(public_der, until)
                except NotFound as error:  # others may be there
                    if len(self._keys) == 1:
                        raise TokenUnavailable(str(error), hint=error.hint) from error
        except BaseException:
            session.close()
            raise
        return session

    def close(self) -> None:
        """End all sessions that are not in use."""
        with self._state:
            idle = self._idle
            for session in idle:
                del self._sessions[session]
        for session in idle:
            session.close()
        self.launcher.close()


def _repair(pool_of: weakref.ref[SessionPool]) -> None:
    pause = _FIRST_PAUSE_SECONDS
    while (pool := pool_of()) is not None:
        wait = pool.open_missing()
        if wait is None:
            return
        pause = min(2 * pause, wait) if wait else _FIRST_PAUSE_SECONDS
        del pool  # who needs it no more may end it
        if wait:
            time.sleep(pause)


def _look(pool_of: weakref.ref[SessionPool]) -> None:
    pool = pool_of()
    if pool is not None:
        with suppress(TokenUnavailable, NotFound):
            pool.try_out()


def _lot(wanted: Sequence[bytes], start: int) -> list[bytes]:
    """As many of what is wanted, from there on, as go into one lot; one at least."""
    end, size = start, 0
    while end < len(wanted) and (end == start or size + len(wanted[end]) <= LOT_BYTES):
        size += len(wanted[end])
        end += 1
    return list(wanted[start:end])
