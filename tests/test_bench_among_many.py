"""What the benchmark says of an instance among whose many CAs CRLs come is what it measured, beside quiet ones."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import threading
from itertools import islice
from pathlib import Path

import pytest
from cryptography import x509
from tests.pki import CA, new_key

from bench import churn, processes, standstill
from bench.arrivals import next_crls
from bench.churn import Cost, Round
from bench.many_cas import THOUSAND, ManyCAs
from bench.processes import Apart
from bench.standstill import Answers, Client, Queues, Wait

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"


@pytest.fixture
def made(tmp_path) -> ManyCAs:
    """Three CAs of one key."""
    key = new_key("EC")
    return ManyCAs(tmp_path, key, [CA.create(f"CN=CA {number}", key=key).certificate for number in range(3)])


def test_next_crls_are_of_all_cas_but_the_one_that_is_asked_and_newer_each_time(made):
    """What is asked about stays cached, and no CRL is one that was taken before."""
    crls = [x509.load_der_x509_crl(crl) for crl in islice(next_crls(made), 5)]
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in crls]
    assert [crl.issuer for crl in crls] == [made.cas[place].subject for place in (0, 1, 0, 1, 0)]
    assert numbers == [2, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("processors", "own", "others"), [([0], {0}, {0}), ([0, 1], {1}, {0}), ([2, 3, 5], {5}, {2, 3})]
)
def test_worker_has_a_processor_of_its_own_where_there_are_two(processors, own, others):
    """Who shares with whom is the same in each run, so that two of them can be compared."""
    assert processes.processor_shares(processors) == (own, others)


def test_what_was_kept_apart_may_run_anywhere_again():
    """This program has the processors that are not the worker's, the worker's while it stands in, and in the end all."""
    ours = os.sched_getaffinity(0)
    own, rest = processes.processor_shares(sorted(ours))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        worker = pool.apply(os.getpid)
        with Apart(worker) as apart:
            assert (os.sched_getaffinity(worker), os.sched_getaffinity(0)) == (own, rest)
            with apart.in_its_place():
                assert os.sched_getaffinity(0) == own
            assert os.sched_getaffinity(0) == rest
    assert os.sched_getaffinity(0) == ours


def test_rows_of_churn_are_medians_of_what_neighbours_are_to_each_other():
    """Rate and processor time are shares of the quiet turn's; the latency is its own, with the quiet one beside it."""
    quiet = [Round(100.0, 1.0, 10.0), Round(200.0, 3.0, 20.0), Round(900.0, 2.0, 30.0)]
    busy = [Round(80.0, 4.0, 25.0), Round(190.0, 6.0, 40.0), Round(100.0, 9.0, 25.0)]
    rate, p99, cpu = churn.rows(list(zip(quiet, busy, strict=True)), [Cost(9.0, 7.0, 10.0)])
    assert (rate.value, p99.value, cpu.value) == (0.8, 6.0, 0.5)
    assert "100/s beside 200/s" in rate.detail
    assert "2.00 ms without" in p99.detail
    assert "9.0 ms in the manager, 7.0 ms in what pushes" in cpu.detail
    assert not any(figure.met for figure in (rate, p99, cpu))


def test_wait_for_a_processor_is_no_standstill():
    """What the kernel had loop or client wait for is not the loop's, and never more than all of it."""
    assert Wait(5.0, 2.0).still == 3.0
    assert Wait(5.0, 6.0).still == 0.0


def test_row_of_a_standstill_has_the_longest_beside_the_quiet_ones():
    """One long wait is not lost among many short ones, and a machine that is busy itself shows."""
    some = Answers([*[Wait(1.0, 0.0)] * 1000, Wait(9.0, 2.0)], [3.0])
    figure = standstill.row(THOUSAND, "meanwhile", some, Answers([Wait(4.0, 1.0)]), "20 in 10 s")
    assert (figure.value, figure.met) == (7.0, False)
    assert "longest 7.0 ms, p99.9 1.0 ms of 1001 answers; by the clock 9.0, 1.0 ms" in figure.detail
    assert "quiet longest 3.0 ms" in figure.detail
    assert figure.detail.startswith("20 in 10 s; ")


def serve(listener: socket.socket, connections: int, answers: int) -> None:
    """Give so many answers, in two pieces each, over each of so many connections, and close it."""
    for _ in range(connections):
        connection, _ = listener.accept()
        with connection:
            for _ in range(answers):
                connection.recv(1 << 16)
                connection.sendall(ANSWER[:20])
                connection.sendall(ANSWER[20:])
            connection.recv(1 << 16)


@pytest.fixture
def client(made, monkeypatch):
    """What asks a server of three answers a connection, until that has been left twice."""
    monkeypatch.setattr(standstill, "newest_worker", lambda _: os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours, theirs = multiprocessing.Pipe()

        def answer() -> None:
            serve(listener, 2, 3)
            ours.send(None)
            serve(listener, 1, 0)

        server = threading.Thread(target=answer)
        server.start()
        yield Client(made, listener.getsockname()[1], theirs)
        with socket.socket() as last:  # the one that the client did not open any more
            last.connect_ex(listener.getsockname())
        server.join()


def test_client_goes_on_over_another_connection_and_counts_its_first_answer_apart(client):
    """The first answer of another worker is none that was cached; those after it are."""
    client.run()
    assert len(client.answers.first) == 2
    assert len(client.answers.waits) == 4
    assert all(wait.clock > 0 for wait in client.answers.waits)


def test_client_that_is_answered_with_an_error_ends_the_benchmark():
    """Errors are answered quickly, and are no figures."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(SystemExit, match="503 Busy"):
            standstill._ask(ours, b"question")


def test_queues_of_a_process_that_has_ended_say_what_they_said_last():
    """A worker that drains may end between its last answer and the look at its queue."""
    child = multiprocessing.get_context("fork").Process(target=os.getpid)
    child.start()
    with Queues.of(os.getpid()) as ours, Queues.of(child.pid, os.getpid()) as queues:
        child.join()
        assert queues.seconds() >= 0
        assert ours.seconds() >= 0


def test_program_that_goes_first_is_as_before_afterwards():
    """Nothing of the machine is left otherwise than the benchmark came upon it."""
    session = Path("/proc/self/autogroup")
    before = session.read_text() if session.exists() else ""
    with processes.going_first():
        pass
    assert (session.read_text() if session.exists() else "") == before
    assert re.fullmatch(r"(/autogroup-\d+ nice -?\d+\n)?", before)
