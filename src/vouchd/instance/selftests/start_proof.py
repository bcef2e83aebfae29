"""What a start with many CAs leaves to be proved while it answers, CA by CA.

How it works: the self tests of a start make the first checks of a kind before anything is answered, and leave the
others here. As many processes as there are processors make them, once a worker answers: it has the processors to itself
until then, since all clients wait for it. They take the CAs in lots, each the next one that nobody has taken, and after
all CAs make what was left beside them: of the signers of the CAs that a process has proved that process, which has
verified their certificates. With what a CA's check comes to a process tells how it has judged the CA's signer, which
nobody works out again. What they tell is looked at ten times a second. Until then the CA is `unproved`, and answered
tryLater for it.

Why this is right: a CA is answered for when an answer about it has been made with this process's keys and facts and
verified as clients do, as it is where all are proved first; only the others do not wait for it. What is proved is the
state that was published at the start. A CRL that is taken in meanwhile is judged as ever when it is, and so is a CA
that is added; a judgement is of the octets of certificates, and says nothing of others. A CA that does not pass stays
unproved, with the cause, until the instance starts anew or a self test is run that all CAs pass of which no part fails,
and costs nobody else (law 4). The processes are forks of a process of one thread, and end with it. What one that ended
early has not told of is made here, and so is all of it where keys on tokens are used, whose sessions belong to one
process: one check at a time, in a thread. A process that has told nothing for a minute is ended as well, and a check
that takes a minute here fails: it holds nothing up but itself.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from vouchd.errors import PartFails, SigningError, VouchdError
from vouchd.instance.certificates.signers import Judgement
from vouchd.instance.report import FailingPart
from vouchd.instance.selftests.shares import (
    Check,
    Line,
    Outcome,
    Share,
    Turns,
    may_share,
    outcome,
    outcome_of,
    processors,
    record,
)
from vouchd.service.selftests import SelfTestName

_log = logging.getLogger(__name__)

LOT = 64  # CAs: their certificates and signers' stay in the memory of who makes their checks one after the other
_LEAST_LOTS = 4  # of a process, so that they end together
_MOST_LOTS = 1 << 9  # of CAs, and of what is beside them: the turns are a page, which every pipe holds
_TOLD = 100  # failures in the words of a result
_SHOWN_SHARE = 0.1
_PATIENCE_SECONDS = 60.0  # with a process that tells nothing, and with a check that is made here


@dataclass(frozen=True, slots=True)
class LeftCheck:
    """A check that was left: of which test, and of what, by the name that people know it by."""

    test: SelfTestName
    name: str
    check: Check


class Conclusion(NamedTuple):
    """What all checks that were left of one test came to; `detail` and `hint` as of its result."""

    test: SelfTestName
    ok: bool
    detail: str
    hint: str = ""


def _forgo(conclusions: Iterable[Conclusion]) -> None:
    """Nobody is told what the tests came to."""


class _Failure(NamedTuple):
    """In words: an error would keep what its check looked at."""

    words: str
    hint: str


class Judge(Protocol):
    """Judges the signers of the CAs, by their ids."""

    def signer(self, authority_id: str) -> str:
        """The nickname of a CA's signer, by which checks of its certificate are named."""

    def judgement(self, authority_id: str) -> Judgement | None:
        """What is found out of it where the CA's check is made."""

    def learn(self, authority_id: str, judged: Judgement) -> None:
        """Go by what another process has found out of it."""


class _Lot(NamedTuple):
    """Checks, by key, that one process makes: those of CAs, and after all CAs those beside them."""

    cas: Sequence[str]
    beside: Sequence[str]


class _Made(NamedTuple):
    """What came of a check."""

    key: str
    outcome: Outcome
    judged: Judgement | None = None


class StartProof:
    """Takes the checks that are left over the first `at_once` of each test, and has them made."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._shared = True
        self._left: dict[str, LeftCheck] = {}  # that are not made yet, by a key of their own
        self._cas: dict[str, str] = {}  # by key of the check that a CA waits for, its id
        self._pending = 0  # how many CAs are not proved yet
        self._judge: Judge | None = None
        self._doubts: dict[str, tuple[str, ...]] = {}  # by key
        self._lots: Sequence[_Lot] = ()
        self._shares: dict[Share, float] = {}  # by each, when it told something last, or began
        self._turns: Turns | None = None
        self._going = False
        self._here: _Here | None = None
        self._failed: dict[str, _Failure] = {}  # by key
        self._known: dict[str, LeftCheck] = {}
        self._unproved: dict[str, str] = {}  # label by the CA's id
        self._conclude: Callable[[Iterable[Conclusion]], None] = _forgo
        self._shown = 0  # how many were done
        self.of = 0
        """How many CAs there were to be proved, those before the first answer among them."""
        self.proven: set[str] = set()
        """Nicknames of the signers by which a check has made an answer, in this process, that has been verified."""

    def leave(
        self,
        test: SelfTestName,
        checks: Mapping[str, Check],
        cas: Mapping[str, str] | None = None,
        *,
        shared: bool = True,
        judge: Judge | None = None,
    ) -> dict[str, Check]:
        """Those of a test's checks, by name, that are to be made before the first answer; the others are left.

        `cas` are the ids of CAs by the names of checks that they wait for, and `judge` is asked about those CAs where
        their checks are made; `shared`: other processes may make them. They are made by LOT, in their order.
        """
        names = list(checks)
        self._judge = judge or self._judge
        self._shared = self._shared and shared
        if cas is not None:
            self.of = len(cas)
        for name in names[self.at_once :]:
            key = f"{test} {name}"
            self._left[key] = self._known[key] = LeftCheck(test, name, checks[name])
            if cas is not None:
                self._cas[key] = cas[name]
                self._pending += 1
                self._unproved[cas[name]] = name
        return {name: checks[name] for name in names[: self.at_once]}

    def begin(self, conclude: Callable[[Iterable[Conclusion]], None]) -> None:
        """Have what was left made once it is to `go`, the CAs first.

        `conclude` is told what the tests came to when all is made.
        """
        if not self._left:
            return
        self._conclude = conclude
        _log.info("answering for %d of %d CAs, the others as they are proved", self.of - len(self._unproved), self.of)
        if self._shared and may_share():
            self._lots = tuple(self._in_lots())
            gc.freeze()  # to look for garbage writes to all objects, which the processes share as long as nobody does
            with suppress(OSError):
                self._turns = Turns()
                for _ in range(processors()):
                    self._shares[Share(self._lines)] = 0.0

    def go(self) -> None:
        """Make what was left from now on: there is an answer, and what makes it has what it needs."""
        if self._going:
            return
        self._going = True
        if self._turns is not None:
            self._shares = dict.fromkeys(self._shares, time.monotonic())
            self._turns.let_out(len(self._lots))

    def _in_lots(self) -> Iterator[_Lot]:
        """What is left, the CAs first: who waits for a check goes before what is only told of."""
        beside: dict[str, list[str]] = {}  # keys by the name of what they are of
        for key, left in self._left.items():
            if key not in self._cas:
                beside.setdefault(left.name, []).append(key)
        cas = [key for key in self._left if key in self._cas]
        step = _lot_size(len(cas))
        for first in range(0, len(cas), step):
            lot = cas[first : first + step]
            signers = [self._judge.signer(self._cas[key]) for key in lot] if self._judge else []
            yield _Lot(lot, [key for name in signers for key in beside.pop(name, ())])
        others = [key for keys in beside.values() for key in keys]
        step = _lot_size(len(others))
        for first in range(0, len(others), step):
            yield _Lot((), others[first : first + step])

    def _lines(self) -> Iterator[Line]:
        """In a process of its own: what comes of the checks in the lots that it takes."""
        later: list[str] = []
        for turn in self._turns or ():
            lot = self._lots[turn]
            for key in lot.cas:
                result = outcome(self._left[key].check)
                yield key, self._judgement(key), *record(result)
            later += lot.beside
        for key in later:
            yield key, None, *record(outcome(self._left[key].check))

    def _judgement(self, key: str) -> Judgement | None:
        return self._judge.judgement(self._cas[key]) if self._judge is not None and key in self._cas else None

    @property
    def unproved(self) -> frozenset[str]:
        """The ids of the CAs that are answered tryLater, since they are not proved yet or did not pass."""
        return frozenset(self._unproved)

    def why(self, authority_id: str) -> str:
        """Why that CA is answered tryLater; empty: it is not, as far as proofs go."""
        if authority_id not in self._unproved:
            return ""
        failures = (self._failed[key].words for key in self._failed if self._cas.get(key) == authority_id)
        failure = next(failures, "")
        return f"not proved since the start: {failure}" if failure else "not proved yet since the start"

    @property
    def waiting(self) -> frozenset[str]:
        """The ids of the CAs that are not proved yet."""
        return frozenset(each for key, each in self._cas.items() if key in self._left)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is told of the signers of the CAs that were proved while answering, one line each."""
        return tuple(dict.fromkeys(line for key in self._known for line in self._doubts.get(key, ())))

    @property
    def is_over(self) -> bool:
        """Whether all that was left is made."""
        return not self._left

    @property
    def done(self) -> int:
        """How many CAs have passed or failed by now."""
        return self.of - self._pending

    def failing(self, present: Container[str]) -> tuple[FailingPart, ...]:
        """The CAs that did not pass, of those that are `present` by their ids."""
        if not self._failed:  # as in each report while ten thousand are being proved
            return ()
        return tuple(
            FailingPart(
                f"CA {label}", f"answered tryLater: not proved since the start: {self._failed[key].words}", label
            )
            for key, each in self._cas.items()
            if key in self._failed and each in present and (label := self._unproved.get(each)) is not None
        )

    def look(self) -> bool:
        """Take what was made since the last look; whether that is worth to be shown: what shows it goes by the CAs."""
        if not self._left:
            return False
        failed = len(self._failed)
        for made in tuple(self._news()):
            self._take(made)
        if self._left and self._going and not self._shares and self._here is None:
            self._go_on_here()
        if not self._left:
            self.end()
            try:
                self._conclude(tuple(self._conclusions()))
            except VouchdError as error:
                _log.error("the results of the start's self tests are not kept: %s", error)
            self._conclude, self._judge = _forgo, None  # they have all that was published at the start
            self._known, self._doubts = {}, {}
            self._cas = {key: each for key, each in self._cas.items() if key in self._failed}
            _log.info("the start is proved: %d CAs, %d of them did not pass", self.of, len(self._unproved))
        done = self.done
        worth = done - self._shown >= self.of * _SHOWN_SHARE or (done == self.of and self._shown < done)
        worth |= not self._left or len(self._failed) > failed
        if worth:
            self._shown = done
        return worth

    def _go_on_here(self) -> None:
        """Have a thread make what is left; where the system allows none now, the next look tries again."""
        keys = sorted(self._left, key=lambda key: key not in self._cas)
        with suppress(RuntimeError):
            self._here = _Here({key: self._left[key].check for key in keys}, self._judgement)

    def absolve(self) -> None:
        """All CAs have passed since, in a run of the self test: those that had failed are answered for again."""
        for key in self._cas.keys() & self._failed.keys():
            self._unproved.pop(self._cas[key], None)
            del self._failed[key]

    def end(self) -> None:
        """End all processes, and leave what is not made; a later `look` goes on with it in this process."""
        for share in self._shares:
            share.end()
        if self._lots:
            gc.unfreeze()
        self._shares, self._lots = {}, ()
        if self._turns is not None:
            self._turns.close()
        if self._here is not None:
            self._here.end()
            self._here = None

    def _news(self) -> Iterator[_Made]:
        for share in tuple(self._shares):
            ended = share.ended  # before what it has told is read: there will be no more
            with suppress(OSError):
                for key, judged, *words in share.news():
                    self._shares[share] = time.monotonic()
                    result = outcome_of(words)
                    if result is not None:
                        yield _Made(key, result, self._learnt(key, judged))
            if ended or (self._going and time.monotonic() > self._shares[share] + _PATIENCE_SECONDS):
                share.end()
                del self._shares[share]
        if self._here is not None:
            yield from self._here.news()
            if (late := self._here.late()) is not None:
                self._here.end()
                self._here = None
                why = f"its check has come to no end for {_PATIENCE_SECONDS:.0f} s"
                yield _Made(late, SigningError(why, hint="vouchd selftest run OCSPCanary shows whether it does now"))

    def _learnt(self, key: str, judged: Sequence[Any] | None) -> Judgement | None:
        """The judgement that a process has told."""
        if judged is None:
            return None
        (begin, end), doubts = judged
        learnt = Judgement((begin, end), tuple(doubts))
        if self._judge is not None:
            self._judge.learn(self._cas[key], learnt)
        return learnt

    def _take(self, made: _Made) -> None:
        key, result, judged = made
        left = self._left.pop(key, None)
        if left is None:
            return
        self._pending -= key in self._cas
        if judged is not None and judged.doubts:
            self._doubts[key] = judged.doubts
        if isinstance(result, VouchdError):
            failure = self._failed[key] = _Failure(str(result), result.hint)
            if key in self._cas and not isinstance(result, PartFails):
                _log.error("CA %s is answered tryLater: not proved since the start: %s", left.name, failure.words)
                return
        # Of a part that fails the CAs are answered tryLater for that, and again when it is mended.
        self._unproved.pop(self._cas.get(key, ""), None)

    def _conclusions(self) -> Iterator[Conclusion]:
        for test in dict.fromkeys(left.test for left in self._known.values()):
            keys = [key for key, left in self._known.items() if left.test is test]
            failed = [key for key in keys if key in self._failed]
            words = "; ".join(f"{self._known[key].name}: {self._failed[key].words}" for key in failed[:_TOLD])
            more = f"; and {len(failed) - _TOLD} more" if len(failed) > _TOLD else ""
            hint = next((self._failed[key].hint for key in failed if self._failed[key].hint), "")
            made = f"{len(keys)} more while answering"
            yield Conclusion(test, not failed, f"{words}{more}" if failed else f"good, {made}", hint)


def _lot_size(count: int) -> int:
    """How many of so many checks a process takes at a time."""
    few = count // (processors() * _LEAST_LOTS) + 1
    return min(few, LOT * (1 + count // (LOT * _MOST_LOTS)))


@dataclass
class _Here:
    """Checks that a thread of this process makes, one after the other."""

    checks: Mapping[str, Check]
    judgement: Callable[[str], Judgement | None]
    _made: queue.SimpleQueue[_Made] = field(default_factory=queue.SimpleQueue)
    _ended: threading.Event = field(default_factory=threading.Event)
    _begun: tuple[str, float] | None = None  # the check that is made now, and since when

    def __post_init__(self) -> None:
        threading.Thread(target=self._make, daemon=True).start()

    def _make(self) -> None:
        for key, check in self.checks.items():
            self._begun = key, time.monotonic()
            if self._ended.is_set():
                return
            try:
                made = _Made(key, outcome(check), self.judgement(key))
            except Exception as error:  # noqa: BLE001  a bug costs what it is about
                _log.exception("%s", key)
                made = _Made(key, SigningError(f"internal error: {type(error).__name__}"))
            self._begun = None
            self._made.put(made)

    def news(self) -> Iterator[_Made]:
        """What was made since the last look."""
        with suppress(queue.Empty):
            while True:
                yield self._made.get_nowait()

    def late(self) -> str | None:
        """The key of a check that comes to no end."""
        begun = self._begun
        return begun[0] if begun is not None and time.monotonic() > begun[1] + _PATIENCE_SECONDS else None

    def end(self) -> None:
        """Make no more."""
        self._ended.set()
