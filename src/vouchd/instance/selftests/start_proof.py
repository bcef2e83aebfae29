"""What a start with many CAs leaves to be proved while it answers, CA by CA.

How it works: the self tests of a start make the first checks of a kind before anything is answered, and leave the
others here. As many processes as there are processors make them, once a worker answers: it has the processors to itself
until then, since all clients wait for it. What each CA's check comes to is looked at twice a second. Until then the CA
is `unproved`, and answered tryLater for it.

Why this is right: a CA is answered for when an answer about it has been made with this process's keys and facts and
verified as clients do, as it is where all are proved first; only the others do not wait for it. What is proved is the
state that was published at the start. A CRL that is taken in meanwhile is judged as ever when it is, and so is a CA
that is added. A CA that does not pass stays unproved, with the cause, until the instance starts anew or a self test is
run that all CAs pass of which no part fails, and costs nobody else (law 4). The processes are forks of a process of one
thread, and end with it. What one that ended early has not told of is made here, and so is all of it where keys on
tokens are used, whose sessions belong to one process: one check at a time, in a thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from vouchd.errors import PartFails, SigningError, VouchdError
from vouchd.instance.report import FailingPart
from vouchd.instance.selftests.shares import Check, Gate, Outcome, Share, may_share, outcome, processors
from vouchd.service.selftests import SelfTestName

_log = logging.getLogger(__name__)

_TOLD = 100  # failures in the words of a result
_SHOWN_SHARE = 0.1


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


class StartProof:
    """Takes the checks that are left over the first `at_once` of each test, and has them made."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._shared = True
        self._left: dict[str, LeftCheck] = {}  # that are not made yet, by a key of their own
        self._cas: dict[str, str] = {}  # by key of the check that a CA waits for, its id
        self._shares: list[Share] = []
        self._gate: Gate | None = None
        self._going = False
        self._here: _Here | None = None
        self._failed: dict[str, _Failure] = {}  # by key
        self._known: dict[str, LeftCheck] = {}
        self._unproved: dict[str, str] = {}  # label by the CA's id
        self._conclude: Callable[[Iterable[Conclusion]], None] = _forgo
        self._shown = 0  # how many were done
        self.of = 0
        """How many CAs there were to be proved, those before the first answer among them."""

    def leave(
        self,
        test: SelfTestName,
        checks: Mapping[str, Check],
        cas: Mapping[str, str] | None = None,
        *,
        shared: bool = True,
    ) -> dict[str, Check]:
        """Those of a test's checks, by name, that are to be made before the first answer; the others are left.

        `cas` are the ids of CAs by the names of checks that they wait for; `shared`: other processes may make them.
        """
        names = list(checks)
        self._shared = self._shared and shared
        if cas is not None:
            self.of = len(cas)
        for name in names[self.at_once :]:
            key = f"{test} {name}"
            self._left[key] = self._known[key] = LeftCheck(test, name, checks[name])
            if cas is not None:
                self._cas[key] = cas[name]
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
            # Who waits for them goes before what is only told of.
            keys = sorted(self._left, key=lambda key: key not in self._cas)
            count = processors()
            with suppress(OSError):
                self._gate = Gate()
                for first in range(count):
                    checks = {key: self._left[key].check for key in keys[first::count]}
                    self._shares.append(Share(checks, self._gate))

    def go(self) -> None:
        """Make what was left from now on: there is an answer, and what makes it has what it needs."""
        self._going = True
        if self._gate is not None:
            self._gate.release()

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
    def is_over(self) -> bool:
        """Whether all that was left is made."""
        return not self._left

    @property
    def done(self) -> int:
        """How many CAs have passed or failed by now."""
        return self.of - sum(key in self._left for key in self._cas)

    def failing(self, present: Container[str]) -> tuple[FailingPart, ...]:
        """The CAs that did not pass, of those that are `present` by their ids."""
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
        for key, result in tuple(self._news()):
            self._take(key, result)
        if not self._left:
            self.end()
            try:
                self._conclude(tuple(self._conclusions()))
            except VouchdError as error:
                _log.error("the results of the start's self tests are not kept: %s", error)
            self._conclude = _forgo  # it has all that was published at the start
            self._cas = {key: each for key, each in self._cas.items() if key in self._failed}
            _log.info("the start is proved: %d CAs, %d of them did not pass", self.of, len(self._unproved))
        worth = not self._left or len(self._failed) > failed or self.done - self._shown >= self.of * _SHOWN_SHARE
        if worth:
            self._shown = self.done
        return worth

    def absolve(self) -> None:
        """All CAs have passed since, in a run of the self test: those that had failed are answered for again."""
        for key in self._cas.keys() & self._failed.keys():
            self._unproved.pop(self._cas[key], None)
            del self._failed[key]

    def end(self) -> None:
        """End all processes, and leave what is not made; a later `look` goes on with it in this process."""
        for share in self._shares:
            share.end()
        self._shares = []
        if self._gate is not None:
            self._gate.release()
        if self._here is not None:
            self._here.end()
            self._here = None

    def _news(self) -> Iterator[tuple[str, Outcome]]:
        for share in tuple(self._shares):
            ended = share.ended  # before what it has told is read: there will be no more
            with suppress(OSError):
                yield from share.news().items()
            if ended:
                share.end()
                self._shares.remove(share)
        if self._here is not None:
            yield from self._here.news()
        elif self._going and not self._shares:
            self._here = _Here({key: left.check for key, left in self._left.items()})

    def _take(self, key: str, result: Outcome) -> None:
        left = self._left.pop(key, None)
        if left is None:
            return
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
        self._known = {}


@dataclass
class _Here:
    """Checks that a thread of this process makes, one after the other."""

    checks: Mapping[str, Check]
    _made: queue.SimpleQueue[tuple[str, Outcome]] = field(default_factory=queue.SimpleQueue)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._make, daemon=True).start()

    def _make(self) -> None:
        for key, check in self.checks.items():
            if self._ended.is_set():
                return
            try:
                result = outcome(check)
            except Exception as error:  # noqa: BLE001  a bug costs what it is about
                _log.exception("%s", key)
                result = SigningError(f"internal error: {type(error).__name__}")
            self._made.put((key, result))

    def news(self) -> Iterator[tuple[str, Outcome]]:
        """What was made since the last look."""
        with suppress(queue.Empty):
            while True:
                yield self._made.get_nowait()

    def end(self) -> None:
        """Make no more."""
        self._ended.set()
