"""A critical self test that failed: all workers stop answering, say so, and go on once it has passed."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.processes.running import Instance, eventually

from vouchd.cloning.watermark import Watermark
from vouchd.errors import StoreUnavailable
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.processes import worker_process
from vouchd.processes.halting import Verdict, Withholding, changed_between
from vouchd.processes.store_watch import Published
from vouchd.processes.worker import _Worker
from vouchd.processes.worker_process import WorkerProcess
from vouchd.service.answering import BEHIND, UNPROVED
from vouchd.service.selftests import SelfTestResult


def result(name: str = "OCSPCanary", *, ok: bool, critical: bool = True) -> SelfTestResult:
    return SelfTestResult(name, ok, critical, "found", "", 1000, 3, "onDemand")


class FakePool:
    """A pool whose workers do at once what they are told."""

    def __init__(self) -> None:
        self.orders: list[bool] = []

    def halt(self, halted: bool) -> None:
        self.orders.append(halted)

    @property
    def halted(self) -> bool:
        return bool(self.orders and self.orders[-1])

    @property
    def answering(self) -> bool:
        return not self.halted


class Court:
    """A verdict over results that the test sets."""

    def __init__(self) -> None:
        self.results: tuple[SelfTestResult, ...] = ()
        self.pool, self.own = FakePool(), []
        self.verdict = Verdict(self._read, self.pool, self.own.append)

    def _read(self):
        if self.results is None:
            raise StoreUnavailable("away")
        return self.results

    def look(self, *results: SelfTestResult) -> Verdict:
        self.results = results
        self.verdict.look()
        return self.verdict


def test_ca_that_stays_withheld_is_let_go_by_no_message(monkeypatch):
    """However many there are, and whatever they are withheld for, each message is about those that change alone."""
    monkeypatch.setattr(worker_process, "_IDS_AT_ONCE", 3)
    manager, worker, seen = object.__new__(WorkerProcess), object.__new__(_Worker), []
    worker._server = SimpleNamespace(forget=lambda: None)
    worker._withheld, manager._withheld, manager.is_adopted = {}, {}, False
    worker._withhold = lambda ids, cause: seen.append((ids, cause))
    manager.tell = lambda message: worker._obey(None, json.loads(json.dumps(message)))
    many, fewer = frozenset(map(str, range(20))), frozenset(map(str, range(12, 25)))
    manager.withhold(frozenset({"1"}), BEHIND)
    for before, after in ((frozenset(), many), (many, fewer), (fewer, fewer), (fewer, frozenset())):
        seen.clear()
        manager.withhold(after, UNPROVED)
        assert all(before & after <= ids and cause == UNPROVED for ids, cause in seen)
        assert (seen[-1][0] if seen else before) == after
    assert worker._withheld == {BEHIND: {"1"}, UNPROVED: frozenset()}


def test_adopted_worker_is_told_what_that_of_a_former_version_knows():
    """It understood lists with `first` alone, and ended for any other word: nobody would have answered then."""
    manager, messages = object.__new__(WorkerProcess), []
    manager._withheld, manager.is_adopted, manager.tell = {}, True, messages.append
    manager.withhold(frozenset({"1", "2"}), BEHIND)
    manager.withhold(frozenset({"2", "3"}), BEHIND)
    manager.withhold(frozenset(), BEHIND)
    assert [(one["withhold"], one["first"]) for one in messages] == [(["1", "2"], False), (["3"], False)]


def test_verdict_without_failure_lets_answer():
    """Workers of before a restart are told too: they may have stopped answering."""
    court = Court()
    verdict = court.look(result(ok=True))
    assert (verdict.why, verdict.heeded, court.pool.orders, court.own) == ("", "", [False], [False])


def test_verdict_of_a_critical_failure_halts_once_and_tells_why():
    """Workers and this process's own responder are told when something changes, with the newest reason shown."""
    court = Court()
    court.look(result(ok=False))
    verdict = court.look(result(ok=False), result("DiskSpace", ok=False))
    assert court.pool.orders == court.own == [True]
    assert "OCSPCanary" in verdict.why
    assert "DiskSpace" in verdict.heeded
    assert len(verdict.failed()) == 2


def test_verdict_of_another_failure_is_only_shown():
    """What is not critical stops nothing."""
    verdict = Court().look(result(ok=False, critical=False))
    assert (verdict.why, verdict.failed()) == ("", ("self test OCSPCanary failed: found",))


def test_verdict_is_lifted_when_the_test_passes():
    """Answering goes on when nothing critical is left that failed."""
    court = Court()
    court.look(result(ok=False), result("DiskSpace", ok=False))
    court.look(result(ok=True), result("DiskSpace", ok=False))
    assert court.pool.orders == [True]
    assert court.look(result(ok=True), result("DiskSpace", ok=True)).why == ""
    assert court.pool.orders == court.own == [True, False]


def test_cas_are_acquitted_by_a_run_in_which_nothing_fails_but_parts():
    """A signer that has expired keeps no other CA unproved; a run at the start, or of another test, acquits none."""
    court = Court()
    failed = result(ok=False, critical=False)
    assert not court.look(failed).acquits
    assert court.look(replace(failed, parts_alone=True)).acquits
    assert court.look(result(ok=True)).acquits
    assert not court.look(replace(failed, parts_alone=True, trigger="startup"), result("DiskSpace", ok=True)).acquits


def test_verdict_that_cannot_be_read_stays():
    """A file that cannot be read is no reason to begin answering, or to stop."""
    court = Court()
    court.look(result(ok=False))
    court.results = None
    court.verdict.look()
    assert court.verdict.why
    assert court.pool.orders == [True]


@pytest.fixture
def instance(tmp_path):
    made = Instance(tmp_path)
    made.start()
    yield made
    made.end()


def judge(instance: Instance, *results: SelfTestResult) -> None:
    """Keep results as `vouchd selftest run` does, and tell the manager process."""
    SelfTestFile(instance.folder / "selftests.json").merge(results)
    instance.signal(signal.SIGUSR1)


@pytest.mark.process
def test_running_instance_halts_and_goes_on(instance):
    """No worker answers while a critical self test fails, not even from its cache; then all do again."""
    assert instance.ask(b"cacheable") == b"1"
    judge(instance, result(ok=False))
    report = instance.until(lambda report: bool(report.halted))
    assert report.halted == "self test OCSPCanary failed: found"
    assert {instance.ask(b"cacheable") for _ in range(10)} == {b"halted"}
    status, body = instance.health("/readyz")
    assert status == 503
    checks = {check["name"]: check for check in json.loads(body)["checks"]}
    assert (checks["answering"]["ok"], checks["answering"]["required"]) == (False, True)
    assert not checks["selftests"]["ok"]
    assert instance.metric("vouchd_halted") == 1
    assert instance.metric('vouchd_selftest_passed{test="OCSPCanary"}') == 0
    judge(instance, result(ok=True))
    instance.until(lambda report: not report.halted)
    assert {instance.ask() for _ in range(10)} == {b"1"}
    assert instance.health("/readyz")[0] == 200
    assert instance.metric("vouchd_halted") == 0


@pytest.mark.process
def test_worker_that_starts_later_is_halted_too(instance):
    """A worker that ended does not come back answering."""
    judge(instance, result(ok=False))
    before = {worker.pid for worker in instance.until(lambda report: bool(report.halted)).workers}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    instance.until(lambda report: not before & {worker.pid for worker in report.workers} and bool(report.halted))
    eventually(lambda: instance.report.acknowledged, "all workers loaded")
    assert {instance.ask() for _ in range(10)} == {b"halted"}


@pytest.mark.process
def test_restarted_manager_process_heeds_the_results_it_finds(instance):
    """What the tests at start of the new process said counts: it lifts the halt, or keeps it."""
    judge(instance, result(ok=False))
    instance.until(lambda report: bool(report.halted))
    instance.restart()
    assert instance.until(lambda report: bool(report.halted)).halted
    SelfTestFile(instance.folder / "selftests.json").replace([result(ok=True)])
    instance.restart()
    instance.until(lambda report: not report.halted)
    assert instance.ask() == b"1"


def test_changes_between_manifests_are_those_of_each_that_came_since():
    """What workers answer from differs by what each manifest changed; where one of them is not known, by anything."""
    manifests = {
        7: Published(7, former=5, changed=frozenset({"a"})),
        9: Published(9, former=7, changed=frozenset({"b", "a"})),
        10: Published(10, former=9, changed=None),
    }
    assert changed_between(manifests, 5, 9) == {"a", "b"}
    assert changed_between(manifests, 7, 9) == {"a", "b"}
    assert changed_between(manifests, 9, 9) == frozenset()
    assert changed_between(manifests, 9, 10) is None
    assert changed_between(manifests, 6, 9) is None
    assert changed_between(manifests, 9, 7) is None
    assert changed_between({9: Published(9, former=9, changed=frozenset())}, 0, 9) is None


def test_one_more_crl_has_no_other_ca_looked_at(monkeypatch):
    """What the workers answer from is held against what is known of the CAs that changed, and of no other one."""
    pool, looked = _Pool(), []
    watermark = Watermark(60)
    monkeypatch.setattr(watermark, "_compare", lambda ids: looked.append(set(ids)))
    withholding = Withholding(watermark, pool, lambda *_: None, lambda: None)
    every = dict.fromkeys(("a", "b", "c"), ())
    for version, changed in ((1, frozenset(every)), (2, frozenset("a")), (3, frozenset("c"))):
        withholding.published(Published(version, epochs=dict(every), former=version - 1, changed=changed))
        pool.oldest = max(version - 1, 1)  # a worker is one manifest behind
        withholding.look()
    assert looked == [set(every), {"a"}]


class _Pool:
    """As many workers as are needed, all alike."""

    oldest = 1

    def withhold(self, authority_ids, cause=""):
        """Whatever it is."""
