"""OCSP in the manager process: its loop serves agents and CRLs beside it, so few wait, and in fair turns."""

from __future__ import annotations

import asyncio

from tests.ee.ee_fakes import AT, LATER, FakeResponder

from vouchd.audit.answer_records import AnsweredRecords
from vouchd.core.policy import AnswerRecords
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.in_process import MAX_WAITING, InProcessAnswers


class FixedClock:
    """It is always AT."""

    def now(self) -> int:
        return AT


def make_answers(responder: FakeResponder) -> InProcessAnswers:
    records = AnsweredRecords(AnswerRecords.NONE, 1, lambda _: "", clients=False)
    return InProcessAnswers(responder, records, FixedClock(), lambda _answers, _lost: None, ClientGroups(24, 56))


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
