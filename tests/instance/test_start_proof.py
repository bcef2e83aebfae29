"""What a start leaves to be proved: every check is made once, here or in a process, and a CA waits for its own alone."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import weakref
from functools import partial

import pytest
from tests.processes.running import eventually

from vouchd.errors import PartFails, SigningError, StoreUnavailable
from vouchd.instance.certificates.signers import Judgement
from vouchd.instance.selftests import start_proof
from vouchd.instance.selftests.start_proof import Conclusion, StartProof
from vouchd.service.selftests import SelfTestName

HERE = os.getpid
CANARY, CERTIFICATES = SelfTestName.CANARY, SelfTestName.CERTIFICATES
NAMES = [f"CA {number}" for number in range(40)]
IDS = {name: f"id of {name}" for name in NAMES}


def good() -> str:
    return "good"


def fails() -> str:
    raise SigningError("clients refuse it", hint="mend it")


def part_fails() -> str:
    raise PartFails("its signer has expired")


def bug() -> str:
    raise ZeroDivisionError("a bug")


def left(checks, at_once: int = 10, *, shared: bool = True) -> StartProof:
    """A proof of the CAs with these checks in place of good ones, of which `at_once` are made before."""
    proof = StartProof(at_once)
    every = dict.fromkeys(NAMES, good) | checks
    assert list(proof.leave(CANARY, every, IDS, shared=shared)) == NAMES[:at_once]
    return proof


def concluded(proof: StartProof) -> dict[SelfTestName, Conclusion]:
    """What the tests came to, once all checks are made."""
    conclusions: list[Conclusion] = []
    proof.begin(conclusions.extend)
    proof.go()
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    assert not proof.look()
    return {one.test: one for one in conclusions}


@pytest.fixture(params=[True, False], ids=["in processes", "in a thread"])
def shared(request, monkeypatch) -> bool:
    """Whether processes make the checks; there are two processors, and no thread of the tests' own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(start_proof, "may_share", lambda: True)
    return request.param


def test_ca_waits_for_its_own_proof(shared):
    """Those made before are not waited for; at the end none is left, and each was counted once."""
    proof = left({}, shared=shared)
    assert (proof.of, proof.done, proof.unproved) == (40, 10, frozenset(IDS[name] for name in NAMES[10:]))
    assert (proof.why(IDS[NAMES[9]]), proof.why(IDS[NAMES[10]])) == ("", "not proved yet since the start")
    (conclusion,) = concluded(proof).values()
    assert conclusion == Conclusion(CANARY, True, "good, 30 more while answering")
    assert (proof.done, proof.unproved, proof.failing(IDS.values())) == (40, frozenset(), ())


def test_ca_that_fails_stays_unproved_until_all_have_passed(shared):
    """It is named with its cause; one whose part fails is answered tryLater for that, and not for its proof."""
    proof = left({"CA 20": fails, "CA 21": part_fails}, shared=shared)
    conclusion = concluded(proof)[CANARY]
    assert (conclusion.ok, conclusion.hint) == (False, "mend it")
    assert conclusion.detail == "CA 20: clients refuse it; CA 21: its signer has expired"
    assert proof.unproved == {IDS["CA 20"]}
    (part,) = proof.failing(IDS.values())
    assert (part.part, part.ca) == ("CA CA 20", "CA 20")
    assert "clients refuse it" in part.cause
    assert "clients refuse it" in proof.why(IDS["CA 20"])
    assert not proof.why(IDS["CA 21"])
    proof.absolve()
    assert (proof.unproved, proof.failing(IDS.values())) == (frozenset(), ())


def test_bug_in_a_check_costs_what_it_is_about(shared):
    """The process that it ends leaves its other checks to this one."""
    proof = left({"CA 20": bug}, shared=shared)
    assert "internal error: ZeroDivisionError" in concluded(proof)[CANARY].detail
    assert (proof.done, proof.unproved) == (40, {IDS["CA 20"]})


def test_process_that_is_killed_leaves_no_ca_unproved(shared):
    """What it has not told of is proved here."""
    here = HERE()

    def dies() -> str:
        if HERE() != here:
            os.kill(HERE(), signal.SIGKILL)
        return "good"

    proof = left({"CA 15": dies, "CA 16": dies}, shared=shared)
    assert concluded(proof)[CANARY].ok
    assert not proof.unproved


def test_proof_that_was_ended_is_gone_on_with_here(shared):
    """As after a restart that did not come about."""
    proof = left({}, shared=shared)
    conclusions: list[Conclusion] = []
    proof.begin(conclusions.extend)
    proof.go()
    proof.end()
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    assert not proof.unproved


def test_nothing_is_made_before_it_is_to_go(shared):
    """Until then the processors are the workers', which nobody is answered without."""
    word = os.memfd_create("go")

    def late() -> str:
        if not os.fstat(word).st_size:
            raise SigningError("too early")
        return "good"

    proof, conclusions = left(dict.fromkeys(NAMES, late), shared=shared), []
    proof.begin(conclusions.extend)
    proof.look()
    assert proof.done == 10
    os.write(word, b"!")
    proof.go()
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    os.close(word)
    assert conclusions[0].ok
    assert not proof.unproved


class Judging:
    """A judge whose judgements tell the process that made them, and of whom this process has learnt."""

    def __init__(self) -> None:
        self.learnt: dict[str, Judgement] = {}

    def signer(self, authority_id: str) -> str:
        return authority_id.replace("id of", "signer of")

    def judgement(self, authority_id: str) -> Judgement | None:
        return None if authority_id == IDS["CA 39"] else Judgement((0, HERE()), (f"doubt of {authority_id}",))

    def learn(self, authority_id: str, judged: Judgement) -> None:
        self.learnt[authority_id] = judged


def test_judgement_comes_with_the_proof_of_its_ca(shared):
    """What a process found out of a signer is known here with the CA, once; what is doubtful is told at the end."""
    proof, judge, doubts = StartProof(10), Judging(), list[str]()
    proof.leave(CANARY, dict.fromkeys(NAMES, good) | {"CA 20": part_fails}, IDS, shared=shared, judge=judge)
    proof.begin(lambda _: doubts.extend(proof.doubts))
    assert proof.waiting == frozenset(IDS[name] for name in NAMES[10:])
    proof.go()
    eventually(lambda: proof.look() and doubts, "the end of the proof")
    later = [IDS[name] for name in NAMES[10:39]]
    assert doubts == [f"doubt of {each}" for each in later]
    assert proof.waiting == frozenset()
    if shared:
        assert set(judge.learnt) == set(later)
        assert HERE() not in {one.life[1] for one in judge.learnt.values()}


def test_process_that_proves_a_ca_makes_the_check_of_its_signer(shared):
    """It has verified that certificate already. One that no CA has is checked as well."""
    log, end = os.pipe()

    def notes(name: str) -> str:
        os.write(end, f"{name} {HERE()}\n".encode())
        return "good"

    proof, conclusions = StartProof(10), list[Conclusion]()
    signers = [f"signer of {name}" for name in NAMES] + ["idle"]
    proof.leave(CERTIFICATES, {name: partial(notes, name) for name in signers}, shared=shared)
    proof.leave(CANARY, {name: partial(notes, name) for name in NAMES}, IDS, shared=shared, judge=Judging())
    proof.begin(conclusions.extend)
    proof.go()
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    lines = os.read(log, 1 << 16).decode().splitlines()
    os.close(log)
    os.close(end)
    by = dict(line.rsplit(" ", 1) for line in lines)
    assert len(lines) == len(by) == 61
    assert [by[name] for name in NAMES[10:]] == [by[f"signer of {name}"] for name in NAMES[10:]]
    assert "idle" in by


@pytest.fixture
def impatient(monkeypatch):
    """Nothing is waited for."""
    monkeypatch.setattr(start_proof, "_PATIENCE_SECONDS", 0.0)


def test_process_that_tells_nothing_is_ended_and_its_checks_are_made_here(impatient, monkeypatch):
    """One that hangs keeps no CA waiting for ever."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(start_proof, "may_share", lambda: True)
    monkeypatch.setattr(start_proof._Here, "late", lambda _: None)
    here = HERE()

    def hangs() -> str:
        if HERE() != here:
            signal.pause()
        return "good"

    proof = left(dict.fromkeys(NAMES, hangs))
    assert concluded(proof)[CANARY].ok
    assert not proof.unproved


def test_check_that_comes_to_no_end_fails_and_the_others_go_on(impatient, monkeypatch):
    """What it holds up is its own CA."""
    hung, release = threading.Event(), threading.Event()

    def hangs() -> str:
        hung.set()
        release.wait()
        return "too late"

    late = start_proof._Here.late
    monkeypatch.setattr(start_proof._Here, "late", lambda one: late(one) if hung.is_set() else None)
    proof, conclusions = left({"CA 20": hangs}, shared=False), list[Conclusion]()
    proof.begin(conclusions.extend)
    proof.go()
    eventually(lambda: (proof.look(), hung.is_set())[1], "a check that hangs")
    eventually(lambda: (proof.look(), proof.unproved == {IDS["CA 20"]})[1], "its failure")
    monkeypatch.setattr(start_proof._Here, "late", lambda _: None)
    eventually(lambda: proof.look() or conclusions, "the end of the proof")
    release.set()
    assert "has come to no end" in proof.why(IDS["CA 20"])
    assert proof.unproved == {IDS["CA 20"]}


def test_proof_waits_for_a_thread_where_the_system_allows_none_now(monkeypatch):
    """Who looks at it looks at what is late as well, and goes on doing so."""
    proof, conclusions = left({}, shared=False), []
    proof.begin(conclusions.extend)
    proof.go()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        proof.look()
        assert (proof.done, proof.is_over) == (10, False)
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    assert (proof.done, proof.unproved) == (40, frozenset())


def test_failure_beside_the_cas_withholds_none(shared):
    """A certificate that does not fit is told of, as at a start of few."""
    proof = left({}, shared=shared)
    proof.leave(CERTIFICATES, {name: fails if name == "CA 33" else good for name in NAMES}, shared=shared)
    conclusions = concluded(proof)
    assert (conclusions[CANARY].ok, conclusions[CERTIFICATES].detail) == (True, "CA 33: clients refuse it")
    assert (proof.unproved, proof.failing(IDS.values())) == (frozenset(), ())


def test_last_ca_is_shown_though_something_else_is_still_looked_at(shared):
    """Who waits for answers for all waits for no check beside them."""
    (go, let_go), conclusions = os.pipe(), list[Conclusion]()

    def waits() -> str:
        os.read(go, 1)
        return "good"

    proof = left({}, shared=shared)
    proof.leave(CERTIFICATES, dict.fromkeys(NAMES, good) | {"CA 35": waits}, shared=shared)
    proof.begin(conclusions.extend)
    proof.go()
    eventually(lambda: proof.look() and proof.done == proof.of, "a sign that all CAs are proved")
    assert (proof.is_over, conclusions) == (False, [])
    os.write(let_go, b"!")
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    os.close(go)
    os.close(let_go)


def test_all_cas_having_passed_says_nothing_of_what_failed_beside_them(shared):
    """Their run has not looked at certificates: that one does not fit is told at the end."""
    (reached, reach), (go, let_go) = os.pipe(), os.pipe()

    def waits() -> str:
        os.write(reach, b"!")
        os.read(go, 1)
        return "good"

    proof = left({"CA 20": fails}, shared=shared)
    proof.leave(CERTIFICATES, dict.fromkeys(NAMES, good) | {"CA 33": fails, "CA 35": waits}, shared=shared)
    conclusions: list[Conclusion] = []
    proof.begin(conclusions.extend)
    proof.go()
    eventually(
        lambda: proof.look() is not None and select.select([reached], [], [], 0)[0], "a check after a failed one"
    )
    proof.look()
    proof.absolve()
    os.write(let_go, b"!")
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    for end in (reached, reach, go, let_go):
        os.close(end)
    (certificates,) = [one for one in conclusions if one.test is CERTIFICATES]
    assert (certificates.ok, certificates.detail) == (False, "CA 33: clients refuse it")


def test_ca_that_is_gone_is_not_told_of(shared):
    """Who takes away a CA that did not pass has mended it."""
    proof = left({"CA 20": fails}, shared=shared)
    concluded(proof)
    assert proof.failing(set(IDS.values()) - {IDS["CA 20"]}) == ()


class Facts:
    """What checks look at."""


@pytest.mark.parametrize("at_once", [10, len(NAMES)])
def test_what_was_looked_at_is_let_go(shared, at_once):
    """Neither the checks, nor the error of one, nor who is told of the end keep what was published at the start."""
    facts = Facts()
    kept = weakref.ref(facts)

    def refuses(facts: Facts = facts) -> str:
        raise SigningError(f"clients refuse it: {type(facts).__name__}")

    proof, ends = left({"CA 20": refuses}, at_once=at_once, shared=shared), []
    proof.begin(lambda _, facts=facts: ends.append(type(facts)))
    proof.go()
    if at_once < len(NAMES):
        eventually(lambda: proof.look() and ends, "the end of the proof")
    del facts, refuses
    eventually(lambda: gc.collect() is not None and kept() is None, "the end of what was looked at")


def test_objects_that_processes_share_are_not_looked_at_for_garbage_meanwhile(monkeypatch):
    """That would write to each, and have it copied; when the proof is over they are looked at as ever."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(start_proof, "may_share", lambda: True)
    gc.unfreeze()
    proof = left({})
    proof.begin(lambda _: None)
    assert gc.get_freeze_count()
    proof.go()
    eventually(lambda: proof.look() and proof.is_over, "the end of the proof")
    assert not gc.get_freeze_count()


def test_results_that_cannot_be_kept_keep_no_ca_waiting(shared):
    """A full disk is told of elsewhere, too."""

    def refuse(_: object) -> None:
        raise StoreUnavailable("full")

    proof = left({}, shared=shared)
    proof.begin(refuse)
    proof.go()
    eventually(lambda: proof.look() and not proof.unproved, "the end of the proof")


def test_nothing_is_left_of_fewer_checks_than_are_made_at_once():
    """No process, no thread, and nothing to conclude."""
    before, proof = threading.active_count(), left({}, at_once=len(NAMES))
    proof.begin(lambda _: pytest.fail("nothing was left"))
    assert (proof.look(), proof.done, proof.unproved, threading.active_count()) == (False, 40, frozenset(), before)
