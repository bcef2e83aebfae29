"""Self tests: which there are, running them, and what a failure means.

What a test looks at is given to this module as functions; it knows their order, which of them are critical, who may run
them, and that every run is recorded. A critical test that failed keeps an instance from answering until it passes; one
that failed for a part of the instance costs that part alone, and is no reason to stop the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink, Clock
from vouchd.errors import LifecycleError, NotFound, PartFails, VouchdError
from vouchd.service.permission import Action, Permission

_log = logging.getLogger(__name__)

EVENT = "SELFTESTS_EXECUTION"
ITSELF = Caller("vouchd")


class SelfTestName(StrEnum):
    """Every self test; the first three are the Certificate System's."""

    PRESENCE = "OCSPPresence"
    CERTIFICATES = "SystemCertsVerification"
    VALIDITY = "OCSPValidity"
    KEY_FILES = "KeyFileModes"
    DISK = "DiskSpace"
    CLOCK = "ClockVerification"
    INDEX = "IndexVerification"
    CANARY = "OCSPCanary"


class Trigger(StrEnum):
    """When a run happens, as the settings call it."""

    STARTUP = "startup"
    ON_DEMAND = "onDemand"


@dataclass(frozen=True, slots=True)
class Planned:
    """One place in an order of tests."""

    name: SelfTestName
    critical: bool = False


# The orders where the settings name none. A test that is not critical warns.
STARTUP_TESTS = (
    Planned(SelfTestName.PRESENCE, critical=True),
    Planned(SelfTestName.CERTIFICATES, critical=True),
    Planned(SelfTestName.KEY_FILES, critical=True),
    Planned(SelfTestName.DISK),
    Planned(SelfTestName.CLOCK),
    Planned(SelfTestName.CANARY, critical=True),
)
ON_DEMAND_TESTS = (
    Planned(SelfTestName.PRESENCE, critical=True),
    Planned(SelfTestName.CERTIFICATES, critical=True),
    Planned(SelfTestName.VALIDITY),
    Planned(SelfTestName.KEY_FILES, critical=True),
    Planned(SelfTestName.DISK),
    Planned(SelfTestName.CLOCK),
    Planned(SelfTestName.INDEX),
    Planned(SelfTestName.CANARY, critical=True),
)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A test; `check` gets the moment (POSIX seconds), returns what it found, and raises VouchdError for a failure."""

    name: SelfTestName
    about: str
    check: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class SelfTestInfo:
    """What is shown of a test; of `startup` and `on_demand` None means that it is not in that order.

    `place` counts from 1 in the on-demand order, 0: only run by name.
    """

    name: str
    about: str
    startup: bool | None  # in the order at start; whether critical
    on_demand: bool | None
    place: int


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """How a test went; `detail` tells what was found, `hint` what to do about a failure. `at` is POSIX seconds.

    `parts_alone`: what failed are parts, whose CAs are answered tryLater for that; all others have passed.
    """

    name: str
    ok: bool
    critical: bool
    detail: str
    hint: str
    at: int
    milliseconds: int
    trigger: str
    parts_alone: bool = False

    @property
    def halts(self) -> bool:
        """Whether it keeps the instance from answering."""
        return self.critical and not self.ok


class SelfTestRecords(Protocol):
    """Where the newest result of each test is kept for whoever asks, over processes. Raises: StoreUnavailable."""

    def latest(self) -> tuple[SelfTestResult, ...]:
        """The newest result of each test."""

    def replace(self, results: Sequence[SelfTestResult]) -> None:
        """Forget what was and keep these."""

    def merge(self, results: Sequence[SelfTestResult]) -> None:
        """Keep these in place of those of the same tests."""


class SelfTests:
    """Runs the tests; every run on demand passes `permission` first and every run is recorded in `audit`.

    `startup` and `on_demand` are the orders. `changed` is called after a run on demand was kept.
    """

    def __init__(
        self,
        tests: Iterable[SelfTest],
        startup: Sequence[Planned],
        on_demand: Sequence[Planned],
        *,
        records: SelfTestRecords,
        permission: Permission,
        audit: AuditSink,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._tests = {test.name: test for test in tests}
        self._startup = tuple(startup)
        self._on_demand = tuple(on_demand)
        self._records = records
        self._permission = permission
        self._audit = audit
        self._clock = clock
        self._changed = changed

    def tests(self, caller: Caller) -> tuple[SelfTestInfo, ...]:
        """All tests, those of the on-demand order first and in its order. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_SELFTESTS, "*")
        startup = {planned.name: planned.critical for planned in self._startup}
        on_demand = {planned.name: planned.critical for planned in self._on_demand}
        names = [*on_demand, *(name for name in self._tests if name not in on_demand)]
        places = {name: place for place, name in enumerate(on_demand, 1)}
        return tuple(
            SelfTestInfo(
                name.value, self._tests[name].about, startup.get(name), on_demand.get(name), places.get(name, 0)
            )
            for name in names
        )

    def latest(self, caller: Caller) -> tuple[SelfTestResult, ...]:
        """The newest result of each test since the instance started. Raises: PermissionDenied, StoreUnavailable."""
        self._permission.allow(caller, Action.LIST_SELFTESTS, "*")
        return self._records.latest()

    def run(self, names: Sequence[str], caller: Caller) -> tuple[SelfTestResult, ...]:
        """Run the tests of these names in the order given, or with none the whole on-demand order; blocking.

        A critical failure stops a running instance from answering until that test passes.

        Raises: NotFound, then none is run; PermissionDenied; StoreUnavailable.
        """
        self._permission.allow(caller, Action.RUN_SELFTESTS, ", ".join(names)[:200] or "*")
        results = self._run(self._planned(names), Trigger.ON_DEMAND)
        self._records.merge(results)
        self._changed()
        self._record(results, Trigger.ON_DEMAND, caller)
        return results

    def run_startup(self, *, rehearsal: bool = False) -> tuple[SelfTestResult, ...]:
        """Run the startup order and keep its results in place of all others; blocking.

        `rehearsal`: before a restart, the results are not those of the instance that runs, and are not kept.

        Raises: LifecycleError when a critical test failed, naming each; StoreUnavailable.
        """
        results = self._run(self._startup, Trigger.STARTUP)
        if not rehearsal:
            self._records.replace(results)
        self._record(results, Trigger.STARTUP, ITSELF)
        require_passed(results)
        return results

    def conclude(self, results: Iterable[tuple[SelfTestName, bool, str, str]]) -> None:
        """Keep what came of tests of which a start had left a part: name, whether all passed, detail and hint.

        A failure costs what it is about, and stops nothing. Raises: StoreUnavailable.
        """
        at, former = self._clock.now(), {result.name: result for result in self._records.latest()}
        kept = []
        for name, ok, detail, hint in results:
            first = former.get(name.value)
            if first is None or first.trigger != Trigger.STARTUP:  # a run since then has told of all
                continue
            kept.append(
                replace(
                    first,
                    ok=first.ok and ok,
                    critical=first.critical and first.ok and ok,
                    detail="; ".join(filter(None, (detail, first.detail) if first.ok else (first.detail, detail))),
                    hint=first.hint or hint,
                    at=at,
                )
            )
        if kept:
            self._records.merge(kept)
            self._record(kept, Trigger.STARTUP, ITSELF)

    def _planned(self, names: Sequence[str]) -> tuple[Planned, ...]:
        if not names:
            return self._on_demand
        known = {planned.name: planned for planned in self._on_demand}
        unknown = [name for name in names if name not in self._tests]
        if unknown:
            raise NotFound(f"no self test {unknown[0][:100]!r}", hint="there are: " + ", ".join(self._tests))
        wanted = dict.fromkeys(SelfTestName(name) for name in names)
        return tuple(known.get(name, Planned(name)) for name in wanted)

    def _run(self, planned: Sequence[Planned], trigger: Trigger) -> tuple[SelfTestResult, ...]:
        return tuple(self._run_one(one, trigger) for one in planned)

    def _run_one(self, planned: Planned, trigger: Trigger) -> SelfTestResult:
        at, begun, hint, ok, parts = self._clock.now(), time.perf_counter(), "", False, False
        try:
            detail = self._tests[planned.name].check(at)
            ok = True
        except PartFails as error:  # its CAs are answered tryLater without a self test's help
            detail, hint, parts = str(error), error.hint, True
        except VouchdError as error:
            detail, hint = str(error), error.hint
        except Exception as error:  # noqa: BLE001  a test that cannot even be carried out has not passed
            _log.exception("self test %s", planned.name)
            detail = f"internal error: {type(error).__name__}"
        took = round((time.perf_counter() - begun) * 1000)
        critical = planned.critical and not parts
        return SelfTestResult(planned.name.value, ok, critical, detail, hint, at, took, trigger.value, parts)

    def _record(self, results: Sequence[SelfTestResult], trigger: Trigger, caller: Caller) -> None:
        failed = {result.name: result.detail for result in results if not result.ok}
        self._audit.record(
            EVENT,
            caller,
            "failure" if failed else "success",
            trigger=trigger.value,
            passed=", ".join(result.name for result in results if result.ok),
            failed=", ".join(failed),
            critical=", ".join(result.name for result in results if result.halts),
            why="; ".join(f"{name}: {detail}" for name, detail in failed.items())[:2000],
        )


def failures(results: Iterable[SelfTestResult]) -> tuple[str, ...]:
    """One line for each test that failed."""
    return tuple(f"self test {result.name} failed: {result.detail}" for result in results if not result.ok)


def halting(results: Iterable[SelfTestResult]) -> str:
    """Why the instance must not answer, in one line; empty: it may."""
    return "; ".join(failures(result for result in results if result.halts))


def require_passed(results: Sequence[SelfTestResult]) -> None:
    """Raises: LifecycleError when a critical test failed, with the first remedy."""
    why = halting(results)
    if why:
        hints = [result.hint for result in results if result.halts and result.hint]
        raise LifecycleError(why, hint=hints[0] if hints else "mend it, or see docs/operate/selftests.md")
