"""What a start leaves to be proved: every check is made once, here or in a process, and a CA waits for its own alone."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import weakref

import pytest
from tests.processes.running import eventually

from vouchd.errors import PartFails, SigningError, StoreUnavailable
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


def test_failure_beside_the_cas_withholds_none(shared):
    """A certificate that does not fit is told of, as at a start of few."""
    proof = left({}, shared=shared)
    proof.leave(CERTIFICATES, {name: fails if name == "CA 33" else good for name in NAMES}, shared=shared)
    conclusions = concluded(proof)
    assert (conclusions[CANARY].ok, conclusions[CERTIFICATES].detail) == (True, "CA 33: clients refuse it")
    assert (proof.unproved, proof.failing(IDS.values())) == (frozenset(), ())


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
