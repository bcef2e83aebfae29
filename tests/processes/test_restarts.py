"""SIGHUP: a manager process becomes a new one while its clients notice nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat

import pytest
from tests.ports import free_port
from tests.processes.running import DEADLINE_SECONDS, Instance, Load, eventually, gone

pytestmark = pytest.mark.process


@pytest.fixture
def instance(tmp_path):
    """A running stub instance with two workers."""
    instance = Instance(tmp_path)
    instance.start()
    yield instance
    instance.end()


def test_sighup_under_load_drops_no_request(instance):
    """Every request gets its answer while one restart follows the other, on old and on new connections."""
    with Load(instance.report.ee) as load:
        load.until_answers(100)
        for _ in range(3):
            instance.restart()
            load.until_answers(100)
    assert load.failures == []
    assert set(load.answers) == {b"1"}


def test_sighup_during_a_restart_drops_no_request(instance):
    """A restart that overtakes another one hands on the workers of both; none is lost or left."""
    before = {worker.pid for worker in instance.report.workers}
    with Load(instance.report.ee) as load:
        load.until_answers(50)
        for _ in range(2):
            instance.signal(signal.SIGHUP)
            load.until_answers(5)
        instance.until(lambda report: report.acknowledged and not before & {w.pid for w in report.workers})
        load.until_answers(50)
    assert load.failures == []
    report = instance.until(lambda report: report.acknowledged and len(report.workers) == 2)
    assert instance.process.pid == report.pid


def test_sighup_keeps_process_ports_and_counters(instance):
    """After a restart the process id, the ports, the start time and the counters are the former ones."""
    for _ in range(10):
        instance.ask()
    before = instance.report
    after = instance.restart()
    assert (after.pid, after.ee, after.health, after.started_at) == (
        before.pid,
        before.ee,
        before.health,
        before.started_at,
    )
    assert instance.metric('vouchd_answers_total{status="successful"}') == 10
    assert all(gone(worker.pid) for worker in before.workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_sighup_with_other_worker_count_drops_no_request(instance, workers):
    """More or fewer workers take over without losing a connection that waits in a socket."""
    with Load(instance.report.ee) as load:
        load.until_answers(50)
        instance.configure(ee=0, workers=workers)
        report = instance.restart()
        load.until_answers(100)
    assert load.failures == []
    assert len(report.workers) == workers


def test_sighup_with_another_port_moves_there(instance):
    """A changed port is listened on after the restart, and the former one is closed."""
    before = instance.report
    instance.configure(ee=free_port(), workers=2)
    after = instance.restart()
    assert after.ee != before.ee
    assert instance.ask() == b"1"
    eventually(lambda: "before the restart have ended" in instance.log, "the former workers end")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(before.ee)


@pytest.mark.parametrize("taken_away", [lambda log: log.rename(log.with_name("log.1")), lambda log: log.unlink()])
def test_sighup_goes_on_in_the_log_file_when_its_former_one_was_taken_away(instance, taken_away):
    """logrotate renames the log and signals: manager and workers write a new file, again and again."""
    log = instance.folder / "log"
    for _ in range(2):
        taken_away(log)
        instance.restart()
        eventually(lambda: log.exists() and "before the restart have ended" in instance.log, "the log goes on")
        assert "former file was renamed or removed" in instance.log
        processes = [instance.process.pid, *(worker.pid for worker in instance.report.workers)]
        assert all(log.samefile(f"/proc/{pid}/fd/2") for pid in processes)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_sighup_that_is_refused_goes_on_in_the_log_file_too(instance):
    """Settings that cannot work must not keep the log from being rotated: the refusal stands in the new file."""
    log = instance.folder / "log"
    log.rename(log.with_name("log.1"))
    (instance.folder / "settings").write_text("{")
    instance.signal(signal.SIGHUP)
    eventually(lambda: log.exists() and "not restarted: settings: not JSON" in instance.log, "the refusal is logged")


def test_sighup_leaves_standard_error_that_goes_elsewhere_alone(tmp_path):
    """Who sends standard error to a file of their own finds all of it there, whatever lies where the log would be."""
    instance = Instance(tmp_path)
    instance.log_name = "elsewhere"
    (tmp_path / "log").write_text("of an earlier start")
    instance.start()
    try:
        instance.restart()
        eventually(lambda: "before the restart have ended" in instance.log, "the former workers end")
        assert (tmp_path / "log").read_text() == "of an earlier start"
    finally:
        instance.end()


def test_sighup_with_broken_settings_changes_nothing(instance):
    """Settings that cannot be used are refused before anything is given up."""
    before = instance.report
    (instance.folder / "settings").write_text("{")
    instance.signal(signal.SIGHUP)
    eventually(lambda: "not restarted: settings: not JSON" in instance.log, "the refusal is logged")
    assert instance.ask() == b"1"
    assert instance.report.workers == before.workers
    refusal = instance.until(lambda report: report.refusals == 1)  # for whoever waits for the restart
    assert refusal.refused.startswith("settings: not JSON")
    instance.revise(2)
    instance.until(lambda report: report.version == 2 and report.acknowledged)


def test_sighup_that_cannot_exec_changes_nothing(tmp_path):
    """When the new program cannot be started the old one goes on with the workers it has."""
    instance = Instance(tmp_path, broken_restart=1)
    before = instance.start()
    try:
        instance.signal(signal.SIGHUP)
        eventually(lambda: "not restarted: [Errno 2]" in instance.log, "the refusal is logged")
        instance.revise(2)
        after = instance.until(lambda report: report.version == 2 and report.acknowledged)
        assert {worker.pid for worker in after.workers} == {worker.pid for worker in before.workers}
        assert after.restarts == 0
    finally:
        instance.end()


def test_sigterm_during_a_restart_ends_the_instance(instance):
    """Whoever stops an instance that is just trying its settings out stops it, and not only the former process."""
    (instance.folder / "settings").unlink()
    os.mkfifo(instance.folder / "settings")
    instance.signal(signal.SIGHUP)
    with (instance.folder / "settings").open("w") as settings:  # opened when the manager reads it
        instance.signal(signal.SIGTERM)
        settings.write('{"ee": 0, "workers": 2}')
    assert instance.process.wait(DEADLINE_SECONDS) == 0
    assert "stopped" in instance.log
    assert "restarting" not in instance.log


def test_sighup_to_a_taken_port_changes_nothing(instance, tmp_path_factory):
    """A port that somebody else holds is refused before anything is given up."""
    other = Instance(tmp_path_factory.mktemp("other"))
    taken = other.start().ee[1]
    try:
        instance.configure(ee=taken, workers=2)
        instance.signal(signal.SIGHUP)
        eventually(lambda: f"not restarted: cannot listen on 127.0.0.1 port {taken}" in instance.log, "the refusal")
        assert instance.ask() == b"1"
    finally:
        other.end()


def test_worker_killed_under_load_costs_its_own_connections_only(instance):
    """When a worker is killed, new connections wait for its successor instead of being refused."""
    with Load(instance.report.ee) as load:
        load.until_answers(50)
        os.kill(instance.report.workers[0].pid, signal.SIGKILL)
        instance.until(lambda report: report.restarts == 1 and report.acknowledged)
        load.until_answers(100)
    assert len(load.failures) <= 2  # one under way on each of the two connections
    assert not any("refused" in failure.lower() for failure in load.failures)


def test_store_changed_under_load_is_served_without_a_gap(instance):
    """A new manifest replaces the old one between two answers."""
    with Load(instance.report.ee) as load:
        for revision in range(2, 6):
            instance.revise(revision)
            instance.until(lambda report, wanted=revision: report.version == wanted and report.acknowledged)
        load.until_answers(20)
    assert load.failures == []
    assert b"5" in load.answers
