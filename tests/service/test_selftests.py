"""Self tests: their orders, who may run them, what is kept and recorded, what a failure means."""

from __future__ import annotations

import pytest
from tests.pki import NOW
from tests.service.recording import ADMIN, AGENT, AUDITOR, NOBODY, FullAudit, RecordingAudit

from vouchd.errors import LifecycleError, NotFound, PartFails, PermissionDenied, SigningError, StoreUnavailable
from vouchd.service.permission import Permission
from vouchd.service.selftests import (
    ON_DEMAND_TESTS,
    STARTUP_TESTS,
    Planned,
    SelfTest,
    SelfTestName,
    SelfTests,
    failures,
    halting,
)

DISK, CLOCK, CANARY = SelfTestName.DISK, SelfTestName.CLOCK, SelfTestName.CANARY


class Kept:
    """Results in memory."""

    def __init__(self) -> None:
        self.results: dict = {}

    def latest(self):
        return tuple(self.results.values())

    def replace(self, results) -> None:
        self.results = {}
        self.merge(results)

    def merge(self, results) -> None:
        self.results.update({result.name: result for result in results})


class StoppedClock:
    """A clock that stands at NOW."""

    def now(self) -> int:
        return NOW


def fail(_: int) -> str:
    raise SigningError("it is broken", hint="mend it")


def blunder(_: int) -> str:
    raise KeyError("a bug")


class Bench:
    """Three tests; `failing` ones fail, `buggy` ones raise what is no error of ours."""

    def __init__(self, *, failing: set = frozenset(), buggy: set = frozenset(), audit=None) -> None:
        self.ran: list[str] = []
        self.failing, self.buggy = set(failing), set(buggy)
        self.audit = audit or RecordingAudit()
        self.kept = Kept()
        self.changes = 0
        self.tests = SelfTests(
            [SelfTest(name, f"about {name}", self._check(name)) for name in (DISK, CLOCK, CANARY)],
            startup=(Planned(CLOCK, critical=True), Planned(DISK)),
            on_demand=(Planned(CANARY, critical=True), Planned(CLOCK)),
            records=self.kept,
            permission=Permission(self.audit),
            audit=self.audit,
            clock=StoppedClock(),
            changed=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    def _check(self, name: str):
        def check(at: int) -> str:
            self.ran.append(name)
            if name in self.failing:
                return fail(at)
            if name in self.buggy:
                return blunder(at)
            return f"looked at {at}"

        return check


def test_documented_tests_come_first_and_are_critical_as_documented():
    """The orders without settings begin as the Certificate System's, with the same tests critical."""
    names = ["OCSPPresence", "SystemCertsVerification", "OCSPValidity"]
    assert [(one.name, one.critical) for one in ON_DEMAND_TESTS][:3] == list(
        zip(names, [True, True, False], strict=True)
    )
    assert [(one.name, one.critical) for one in STARTUP_TESTS][:2] == [(names[0], True), (names[1], True)]
    assert {one.name for one in ON_DEMAND_TESTS} == set(SelfTestName)


def test_run_without_names_runs_the_order():
    """On demand, the tests of that order run, in that order, each with the moment it ran at."""
    bench = Bench()
    results = bench.tests.run([], AGENT)
    assert bench.ran == [CANARY, CLOCK]
    assert [(one.name, one.ok, one.critical, one.detail, one.at) for one in results] == [
        ("OCSPCanary", True, True, f"looked at {NOW}", NOW),
        ("ClockVerification", True, False, f"looked at {NOW}", NOW),
    ]


def test_run_by_name_runs_each_once_and_unlisted_ones_uncritically():
    """A test may be run by name though no order has it; then it stops nothing."""
    bench = Bench(failing={DISK})
    results = bench.tests.run(["DiskSpace", "OCSPCanary", "DiskSpace"], ADMIN)
    assert bench.ran == [DISK, CANARY]
    assert [one.critical for one in results] == [False, True]
    assert halting(results) == ""


def test_run_of_an_unknown_name_runs_nothing():
    """A name that no test has is refused before anything runs; the hint tells those there are."""
    bench = Bench()
    with pytest.raises(NotFound, match="no self test 'Nothing'") as caught:
        bench.tests.run(["OCSPCanary", "Nothing"], AGENT)
    assert "OCSPCanary" in caught.value.hint
    assert bench.ran == []


def test_failure_is_a_result_with_reason_and_remedy():
    """A test that fails tells why and how to mend it; those after it still run."""
    bench = Bench(failing={CANARY})
    failed, passed = bench.tests.run([], AGENT)
    assert (failed.ok, failed.detail, failed.hint, failed.halts) == (False, "it is broken", "mend it", True)
    assert passed.ok
    assert halting([failed, passed]) == "self test OCSPCanary failed: it is broken"
    assert failures([failed, passed]) == ("self test OCSPCanary failed: it is broken",)


def test_bug_in_a_test_is_a_failure_without_its_words():
    """A test that cannot even be carried out has not passed; what a bug says is for the log."""
    (result, _) = Bench(buggy={CANARY}).tests.run([], AGENT)
    assert (result.ok, result.detail) == (False, "internal error: KeyError")


def test_failure_of_what_is_not_critical_stops_nothing():
    """Only a critical test can keep an instance from answering."""
    results = Bench(failing={CLOCK}).tests.run([], AGENT)
    assert [one.ok for one in results] == [True, False]
    assert halting(results) == ""


def test_run_is_kept_told_and_recorded():
    """A run on demand is kept beside the other results, told of, and recorded with who asked for it."""
    bench = Bench(failing={CANARY})
    bench.tests.run_startup()
    bench.tests.run([], AGENT)
    assert {one.name: one.trigger for one in bench.kept.latest()} == {
        "ClockVerification": "onDemand",
        "DiskSpace": "startup",
        "OCSPCanary": "onDemand",
    }
    assert bench.changes == 1
    event, caller, outcome, detail = bench.audit.records[-1]
    assert (event, caller, outcome) == ("SELFTESTS_EXECUTION", "agent", "failure")
    assert detail["critical"] == detail["failed"] == "OCSPCanary"
    assert detail["passed"] == "ClockVerification"
    assert detail["why"] == "OCSPCanary: it is broken"


def test_run_is_permitted_before_anything_runs():
    """Auditors may look at the results, who is in no group may not even do that; refusals leave a record."""
    bench = Bench()
    for caller in (AUDITOR, NOBODY):
        with pytest.raises(PermissionDenied):
            bench.tests.run([], caller)
    assert bench.ran == []
    assert bench.audit.events == [("AUTHZ", "failure")] * 2
    assert [one.name for one in bench.tests.tests(AUDITOR)] == ["OCSPCanary", "ClockVerification", "DiskSpace"]
    with pytest.raises(PermissionDenied):
        bench.tests.latest(NOBODY)


def test_list_tells_place_and_criticality_in_each_order():
    """What is listed is what the orders say, those that run on demand first."""
    listed = Bench().tests.tests(AGENT)
    assert [(one.name, one.startup, one.on_demand, one.place) for one in listed] == [
        ("OCSPCanary", None, True, 1),
        ("ClockVerification", True, False, 2),
        ("DiskSpace", False, None, 0),
    ]


def test_startup_passed_replaces_what_was_kept():
    """With a start the results of before it are gone."""
    bench = Bench()
    bench.tests.run([], AGENT)
    bench.tests.run_startup()
    assert [one.name for one in bench.kept.latest()] == ["ClockVerification", "DiskSpace"]
    assert bench.audit.records[-1][:3] == ("SELFTESTS_EXECUTION", "vouchd", "success")


def test_startup_with_a_critical_failure_is_refused_recorded_and_kept():
    """A critical failure refuses the start with reason and remedy; the record and the results say so too."""
    bench = Bench(failing={CLOCK})
    with pytest.raises(LifecycleError, match="self test ClockVerification failed: it is broken") as caught:
        bench.tests.run_startup()
    assert caught.value.hint == "mend it"
    assert bench.audit.events == [("SELFTESTS_EXECUTION", "failure")]
    assert not bench.kept.results["ClockVerification"].ok


def test_startup_with_another_failure_goes_on():
    """What is not critical is told and does not keep an instance from starting."""
    results = Bench(failing={DISK}).tests.run_startup()
    assert failures(results) == ("self test DiskSpace failed: it is broken",)


def test_rehearsal_of_a_start_keeps_nothing():
    """What would fail after a restart says nothing of the instance that runs: it goes on answering."""
    bench = Bench(failing={CLOCK})
    with pytest.raises(LifecycleError):
        bench.tests.run_startup(rehearsal=True)
    assert bench.kept.latest() == ()
    assert bench.audit.events == [("SELFTESTS_EXECUTION", "failure")]


def test_run_that_cannot_be_recorded_is_refused():
    """No record, no act."""
    bench = Bench(audit=FullAudit())
    with pytest.raises(StoreUnavailable):
        bench.tests.run([], AGENT)
    assert bench.ran == []


def test_what_a_start_left_is_kept_beside_what_it_had_found():
    """A failure of either part shows, and that of what was left stops nothing."""
    bench = Bench()
    bench.tests.run_startup()
    bench.tests.conclude([(CLOCK, False, "one of the others is broken", "mend it")])
    (clock, disk) = bench.kept.latest()
    assert (clock.ok, clock.critical, clock.hint) == (False, False, "mend it")
    assert clock.detail == f"one of the others is broken; looked at {NOW}"
    assert disk.ok
    assert not halting(bench.kept.latest())
    assert bench.audit.records[-1][3]["why"].startswith("ClockVerification: one of the others")


def test_failure_before_the_first_answer_is_not_forgotten_when_the_others_pass():
    """What was found first stays what the test says."""
    bench = Bench(failing={DISK})
    bench.tests.run_startup()
    bench.tests.conclude([(DISK, True, "good, 30 more", "")])
    disk = next(one for one in bench.kept.latest() if one.name == DISK)
    assert (disk.ok, disk.detail, disk.hint) == (False, "it is broken; good, 30 more", "mend it")


def test_run_since_the_start_counts_for_more_than_what_the_start_left():
    """It has looked at all."""
    bench = Bench()
    bench.tests.run_startup()
    bench.tests.run([CLOCK], AGENT)
    before = bench.kept.latest()
    bench.tests.conclude([(CLOCK, False, "broken", "")])
    assert bench.kept.latest() == before


def test_failure_of_a_part_stops_nothing_else():
    """A critical test that finds one of several signers unusable costs the CAs of that one: all others are answered."""
    bench = Bench()

    def part_fails(_: int) -> str:
        raise PartFails("the key of ocsp2 is away", hint="see vouchd certs list")

    bench.tests._tests[CANARY] = SelfTest(CANARY, "about it", part_fails)
    (failed, _) = results = bench.tests.run([], AGENT)
    assert (failed.ok, failed.critical, failed.halts, failed.parts_alone) == (False, False, False, True)
    assert (failed.detail, failed.hint) == ("the key of ocsp2 is away", "see vouchd certs list")
    assert halting(results) == ""
    assert bench.audit.records[-1][2] == "failure"


def test_run_is_recorded_whole():
    """Who wanted which tests; then when they run, which passed and failed, which of them halt, and why."""
    bench = Bench(failing={CANARY, DISK})
    bench.tests.run(["OCSPCanary", "ClockVerification", "DiskSpace"], AGENT)
    names = "OCSPCanary, ClockVerification, DiskSpace"
    right, run = bench.audit.records
    assert right == ("AUTHZ", "agent", "success", {"action": "run self tests", "target": names})
    assert run[3] == {
        "trigger": "onDemand",
        "passed": "ClockVerification",
        "failed": "OCSPCanary, DiskSpace",
        "critical": "OCSPCanary",
        "why": "OCSPCanary: it is broken; DiskSpace: it is broken",
    }
    bench = Bench(failing={CANARY, CLOCK})
    bench.tests.run([], AGENT)
    assert bench.audit.records[0][3]["target"] == "*"
    with pytest.raises(LifecycleError):
        bench.tests.run_startup()
    assert bench.audit.records[-1][3]["trigger"] == "startup"
    assert bench.audit.records[-1][3]["passed"] == "DiskSpace"


def test_result_of_a_test_tells_what_it_is_about_and_how_long_it_took(monkeypatch):
    """A list says what each looks at; a result has its milliseconds, and no remedy where none is needed."""
    bench = Bench()
    assert [one.about for one in bench.tests.tests(AGENT)] == [f"about {name}" for name in (CANARY, CLOCK, DISK)]
    seconds = iter([10.0, 12.5, 20.0, 20.004])
    monkeypatch.setattr("vouchd.service.selftests.time.perf_counter", lambda: next(seconds))
    results = bench.tests.run([], AGENT)
    assert [(one.milliseconds, one.hint) for one in results] == [(2500, ""), (4, "")]
