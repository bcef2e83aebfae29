"""OCSP in the manager process: its loop serves agents and CRLs beside it, so few wait, and in fair turns."""

from __future__ import annotations

import asyncio
import threading

from cryptography.x509 import ocsp
from tests.ee.ee_fakes import AT, LATER, FakeResponder, until
from tests.pki import CA, NOW
from tests.serving import entry, point, request_for, responder, serving, state

from vouchd.audit.answer_records import AnsweredRecords
from vouchd.core.policy import AnswerRecords
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.counted_responder import Responding
from vouchd.ee.in_process import MAX_WAITING, InProcessAnswers
from vouchd.signing.software import SoftwareSigner


class FixedClock:
    """It is always the same time."""

    def __init__(self, at: int) -> None:
        self._at = at

    def now(self) -> int:
        return self._at


def make_answers(responder: Responding, at: int = AT) -> InProcessAnswers:
    records = AnsweredRecords(AnswerRecords.NONE, 1, lambda _: "", clients=False)
    return InProcessAnswers(responder, records, FixedClock(at), lambda _answers, _lost: None, ClientGroups(24, 56))


async def test_in_process_flood_waits_in_bounded_number_and_another_client_is_next():
    """Beyond the places tryLater is said at once, and who comes from elsewhere waits for one signature."""
    responder = FakeResponder()
    answers = make_answers(responder)
    flood = [asyncio.create_task(answers.answer("POST", b"0nonce-flood", "192.0.2.1")) for _ in range(200)]
    modest = asyncio.create_task(answers.answer("POST", b"0nonce-modest", "198.51.100.1"))
    bodies = await asyncio.gather(*flood)
    assert await modest == b"answer to 0nonce-modest"
    assert [der for der, _ in responder.calls].index(b"0nonce-modest") == 2
    assert bodies.count(LATER) == 200 - MAX_WAITING
    counters = answers.snapshot()["counters"]
    assert counters["errors"] == {"overloaded": 200 - MAX_WAITING}
    assert sum(counters["answers"].values()) == 201


async def test_in_process_client_that_left_costs_no_signature():
    """A request that nobody waits for any more is passed by."""
    responder = FakeResponder()
    answers = make_answers(responder)
    first, second = (
        asyncio.create_task(answers.answer("POST", b"0nonce-%d" % number, "192.0.2.1")) for number in range(2)
    )
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({first, second})
    assert [der for der, _ in responder.calls] == [b"0nonce-0"]


class Gate(SoftwareSigner):
    """A quick signer whose signatures wait until they are let through."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.open = threading.Semaphore(0)
        self.begun = 0

    def sign(self, tbs: bytes, algorithm: str) -> bytes:
        self.begun += 1
        assert self.open.acquire(timeout=30)
        return super().sign(tbs, algorithm)


async def test_in_process_signature_leaves_the_loop_free_and_follows_a_change():
    """The manager serves agents while a signature is made; a CRL that comes meanwhile is what the answer tells."""
    ca = CA.create("CA one")
    issued = ca.issue_signer()
    gate = Gate("signer", issued.key, issued.der)
    served = responder(state(serving(ca, point(ca))), gate)
    asking = asyncio.create_task(make_answers(served, NOW).answer("POST", request_for(ca, 5), "192.0.2.1"))
    await until(lambda: gate.begun == 1)
    served.replace(state(serving(ca, point(ca, entry(5))), version=2))
    gate.open.release()
    await until(lambda: gate.begun == 2)
    assert not asking.done()
    gate.open.release()
    response = ocsp.load_der_ocsp_response(await asking)
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
