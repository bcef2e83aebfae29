"""The manager process with real workers on a stub store."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from types import SimpleNamespace

import pytest
from tests.ports import free_port
from tests.processes.running import DEADLINE_SECONDS, Instance, eventually, gone

from vouchd.instance.pidfile import running_pid
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.processes.manager import _Instance

pytestmark = pytest.mark.process


@pytest.fixture
def instance(tmp_path):
    """A stub instance with two workers, not started."""
    instance = Instance(tmp_path)
    yield instance
    instance.end()


def test_instance_started_answers_from_every_worker(instance):
    """A started instance has one worker a slot, all answering from the published manifest."""
    report = instance.start()
    assert sorted(worker.slot for worker in report.workers) == [0, 1]
    assert {worker.loaded for worker in report.workers} == {report.version} == {1}
    assert instance.ask() == b"1"


def worker_of(instance: Instance) -> int:
    """The process of a worker as soon as there is one."""
    file = instance.folder / "worker"
    return eventually(lambda: file.exists() and int(file.read_text() or 0), "a worker is started")


def test_worker_loads_during_the_self_tests_and_answers_after_them(instance):
    """Workers load what was published while it is proved that they may answer; until then they answer nobody."""
    port, loaded = free_port(), instance.folder / "loaded"
    instance.configure(ee=port, workers=1)
    os.mkfifo(instance.folder / "trial")
    instance.process = instance.run()
    eventually(lambda: loaded.exists() and loaded.read_text() == "1", "the worker loads")
    assert worker_of(instance)
    assert instance.report is None
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
    (instance.folder / "trial").write_text("")
    instance.until(lambda report: report.acknowledged)
    assert instance.ask() == b"1"


def test_client_is_refused_until_the_self_tests_have_passed(instance):
    """Nobody waits for an instance that does not know yet whether it may answer: he goes to another member at once."""
    port = free_port()
    instance.configure(ee=port, workers=2)
    os.mkfifo(instance.folder / "trial")
    instance.process = instance.run()
    assert worker_of(instance)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
    (instance.folder / "trial").write_text("")
    instance.until(lambda report: report.acknowledged)
    assert instance.ask() == b"1"


def test_port_that_another_instance_took_during_the_self_tests_is_refused(instance, tmp_path_factory):
    """Two instances never share a port, however their starts overlap."""
    port = free_port()
    instance.configure(ee=port, workers=2)
    os.mkfifo(instance.folder / "trial")
    instance.process = instance.run()
    worker = worker_of(instance)
    other = Instance(tmp_path_factory.mktemp("other"), ee=port)
    try:
        other.start()
        (instance.folder / "trial").write_text("")
        assert instance.process.wait(DEADLINE_SECONDS) == 1
        assert f"cannot listen on 127.0.0.1 port {port}" in instance.log
        assert gone(worker)
        assert other.ask() == b"1"
    finally:
        other.end()


def test_self_tests_that_fail_leave_no_worker(instance):
    """An instance that may not answer ends with the reason, and its workers with it."""
    os.mkfifo(instance.folder / "trial")
    instance.process = instance.run()
    worker = worker_of(instance)
    (instance.folder / "trial").write_text("the canary is dead")
    assert instance.process.wait(DEADLINE_SECONDS) == 1
    assert "the canary is dead" in instance.log
    assert gone(worker)
    assert running_pid(instance.folder / "vouchd.pid") is None


def test_workers_start_while_the_manager_reads_keys_and_facts(instance):
    """Both take long with many CAs: neither waits for the other, and until both are there nobody is answered."""
    os.mkfifo(instance.folder / "parts")
    instance.process = instance.run()
    assert worker_of(instance)
    assert instance.report is None
    (instance.folder / "parts").write_text("")
    instance.until(lambda report: report.acknowledged)
    assert instance.ask() == b"1"


def test_worker_loads_what_was_published_before_while_the_manager_reads_keys_and_facts(instance):
    """It is most of what will be published, and nobody is answered from it before the manager says so."""
    port, loaded = free_port(), instance.folder / "loaded"
    instance.configure(ee=port, workers=1)
    (instance.folder / "manifest").write_text("5")
    instance.revise(6)
    os.mkfifo(instance.folder / "parts")
    instance.process = instance.run()
    eventually(lambda: loaded.exists() and loaded.read_text() == "5", "the worker loads")
    assert instance.report is None
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
    (instance.folder / "parts").write_text("")
    instance.until(lambda report: report.acknowledged)
    assert instance.ask() == b"6"


def test_keys_that_cannot_be_used_leave_no_worker(instance):
    """An instance that is not to start ends with the reason, and the workers that it began with it."""
    os.mkfifo(instance.folder / "parts")
    instance.process = instance.run()
    worker = worker_of(instance)
    (instance.folder / "parts").write_text("there is nothing to start for")
    assert instance.process.wait(DEADLINE_SECONDS) == 1
    assert "there is nothing to start for" in instance.log
    assert gone(worker)
    assert running_pid(instance.folder / "vouchd.pid") is None


def test_store_changed_is_served_by_every_worker(instance):
    """A change of the store reaches every worker without a signal; the report says so only then."""
    instance.start()
    instance.revise(2)
    report = instance.until(lambda report: report.version == 2 and report.acknowledged)
    assert {worker.loaded for worker in report.workers} == {2}
    assert {instance.ask(b"cacheable") for _ in range(20)} == {b"2"}


def test_old_files_are_removed_after_every_worker_loaded_the_new_ones(instance):
    """Files of an earlier manifest are removed once nobody can be about to load them."""
    instance.start()
    instance.revise(2)
    tidied = instance.folder / "tidied"
    eventually(lambda: tidied.exists() and tidied.read_text() == "2", "the index folder is tidied")
    assert instance.report.acknowledged


def test_worker_killed_is_replaced_and_its_counters_are_kept(instance):
    """A worker that dies is started again, and what it counted is not lost to the metrics."""
    before = instance.start()
    for _ in range(20):
        instance.ask()
    assert instance.metric('vouchd_answers_total{status="successful"}') == 20
    os.kill(before.workers[0].pid, signal.SIGKILL)
    report = instance.until(lambda report: report.restarts == 1 and report.acknowledged)
    assert before.workers[0].pid not in {worker.pid for worker in report.workers}
    assert {instance.ask() for _ in range(20)} == {b"1"}
    assert instance.metric('vouchd_answers_total{status="successful"}') == 40


def test_store_away_answers_go_on_and_the_state_shows_it(instance):
    """With the store away the workers answer from what they have, and the instance tells of it until it is back."""
    instance.start()
    (instance.folder / "unreachable").touch()
    instance.until(lambda report: report.store_error == "the store is away")
    assert instance.ask() == b"1"
    status, body = instance.health("/readyz")
    assert status == 200
    assert {"name": "store", "ok": False, "detail": "the store is away", "required": False} in json.loads(body)[
        "checks"
    ]
    assert instance.metric("vouchd_store_up") == 0
    instance.revise(2)
    (instance.folder / "unreachable").unlink()
    instance.until(lambda report: not report.store_error and report.version == 2 and report.acknowledged)


def test_store_away_at_start_answers_from_the_last_manifest(instance):
    """An instance that starts while its store is away serves what it published last."""
    (instance.folder / "manifest").write_text("5")
    (instance.folder / "unreachable").touch()
    report = instance.start()
    assert (report.version, instance.ask()) == (5, b"5")


def test_nothing_published_is_alive_but_not_ready(instance):
    """An instance without a manifest is alive, and not ready until its workers have loaded one."""
    (instance.folder / "unreachable").touch()
    instance.process = instance.run()
    instance.until(lambda report: len(report.workers) == 2)
    assert instance.health("/healthz")[0] == 200
    assert instance.health("/readyz")[0] == 503
    (instance.folder / "unreachable").unlink()
    instance.signal(signal.SIGUSR1)
    instance.until(lambda report: report.acknowledged)
    assert instance.health("/readyz")[0] == 200


def test_second_manager_of_one_instance_is_refused(instance):
    """Two managers of one instance cannot run: the second one ends and the first one goes on."""
    instance.start()
    second = instance.run()
    assert second.wait() != 0
    assert f"already running, process {instance.process.pid}" in instance.log
    assert instance.ask() == b"1"


def test_port_of_another_instance_is_refused(instance, tmp_path_factory):
    """An instance never shares a port with another one, although its own sockets share theirs."""
    address = instance.start().ee
    other = Instance(tmp_path_factory.mktemp("other"), ee=address[1])
    assert other.run().wait() != 0
    assert f"cannot listen on 127.0.0.1 port {address[1]}" in other.log


def test_worker_that_cannot_load_answers_as_before_and_is_tried_again(instance):
    """A manifest that cannot be loaded does not take the answers of the former one away; it is loaded once mended."""
    instance.start()
    (instance.folder / "unloadable").touch()
    instance.revise(2)
    eventually(lambda: "cannot load manifest 2: damaged" in instance.log, "the worker tells that it cannot load")
    instance.until(lambda report: not report.acknowledged)  # which is written a moment after the log's line
    assert instance.ask() == b"1"
    (instance.folder / "unloadable").unlink()
    instance.until(lambda report: report.version == 2 and report.acknowledged)
    assert instance.ask() == b"2"


def test_sigterm_ends_all_processes_and_leaves_no_report(instance):
    """A stop ends the manager with 0, its workers first, and takes PID file and report away."""
    report = instance.start()
    instance.signal(signal.SIGTERM)
    assert instance.process.wait() == 0
    assert all(gone(worker.pid) for worker in report.workers)
    assert not (instance.folder / "vouchd.pid").exists()
    assert instance.report is None


def test_manager_killed_workers_end_and_the_port_is_free(instance):
    """Workers without a manager end, so that the next one never shares the port with stale answers."""
    report = instance.start()
    instance.process.kill()
    instance.process.wait()
    for worker in report.workers:
        eventually(lambda pid=worker.pid: gone(pid), "a worker without its manager ends")
    instance.configure(ee=report.ee[1], workers=2)
    instance.revise(3)
    instance.process = instance.run()
    instance.until(lambda new: new.pid == instance.process.pid and new.acknowledged)
    assert {instance.ask() for _ in range(20)} == {b"3"}


def test_worker_that_cannot_start_is_tried_again_and_again(instance):
    """A worker that ends at its start does not end the instance: it is started again, ever more slowly."""
    instance.configure(ee=0, workers=2, broken_worker=1)
    instance.process = instance.run()
    report = instance.until(lambda report: report.restarts >= 2)
    assert not report.acknowledged
    instance.until(lambda report: any(worker.loaded == 1 for worker in report.workers))
    assert instance.health("/readyz")[0] == 200


async def test_end_of_notices_does_not_hold_up_the_loop():
    """To end the search of a directory server takes seconds: workers and the health port are served meanwhile."""
    ended: list[int] = []

    async def release():
        ended.append(0)

    manager = object.__new__(_Instance)
    manager._end_notices = lambda: ended.append(threading.get_ident())
    manager._tasks, manager._pool = [], SimpleNamespace(release=release)
    manager._settings = SimpleNamespace(proof=StartProof(1))
    await manager._halt()
    assert ended[1:] == [0]
    assert ended[0] != threading.get_ident()
