"""What a start leaves to be proved: every check is made once, here or in a process, and a CA waits for its own alone."""

from __future__ import annotations

import os
import signal
import threading

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
    (conclusion,) = concluded(proof).values()
    assert conclusion == Conclusion(CANARY, True, "good, 30 more while answering")
    assert (proof.done, proof.unproved, proof.failing()) == (40, frozenset(), ())


def test_ca_that_fails_stays_unproved_until_all_have_passed(shared):
    """It is named with its cause; one whose part fails is answered tryLater for that, and not for its proof."""
    proof = left({"CA 20": fails, "CA 21": part_fails}, shared=shared)
    conclusion = concluded(proof)[CANARY]
    assert (conclusion.ok, conclusion.hint) == (False, "mend it")
    assert conclusion.detail == "CA 20: clients refuse it; CA 21: its signer has expired"
    assert proof.unproved == {IDS["CA 20"]}
    (part,) = proof.failing()
    assert (part.part, part.ca) == ("CA CA 20", "CA 20")
    assert "clients refuse it" in part.cause
    proof.absolve()
    assert (proof.unproved, proof.failing()) == (frozenset(), ())


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
    proof.end()
    eventually(lambda: proof.look() and conclusions, "the end of the proof")
    assert not proof.unproved


def test_failure_beside_the_cas_withholds_none(shared):
    """A certificate that does not fit is told of, as at a start of few."""
    proof = left({}, shared=shared)
    proof.leave(CERTIFICATES, {name: fails if name == "CA 33" else good for name in NAMES}, shared=shared)
    conclusions = concluded(proof)
    assert (conclusions[CANARY].ok, conclusions[CERTIFICATES].detail) == (True, "CA 33: clients refuse it")
    assert (proof.unproved, proof.failing()) == (frozenset(), ())


def test_results_that_cannot_be_kept_keep_no_ca_waiting(shared):
    """A full disk is told of elsewhere, too."""

    def refuse(_: object) -> None:
        raise StoreUnavailable("full")

    proof = left({}, shared=shared)
    proof.begin(refuse)
    eventually(lambda: proof.look() and not proof.unproved, "the end of the proof")


def test_nothing_is_left_of_fewer_checks_than_are_made_at_once():
    """No process, no thread, and nothing to conclude."""
    before, proof = threading.active_count(), left({}, at_once=len(NAMES))
    proof.begin(lambda _: pytest.fail("nothing was left"))
    assert (proof.look(), proof.done, proof.unproved, threading.active_count()) == (False, 40, frozenset(), before)
