"""What a cache is told is right at the time of asking: no answer from the future, no 304 for another answer."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from cryptography.x509 import ocsp
from tests.ee.ee_fakes import connect, get, make_server, until
from tests.faults.page import FaultTable
from tests.pki import CA, DAY, HOUR, NOW
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.ee.replies import http_date
from vouchd.ee.server import EEServer
from vouchd.pkix.reasons import Reason
from vouchd.service.answering import Responder

CA_ONE = CA.create("Caching CA")
SIGNER = signer(CA_ONE.issue_signer())
REQUEST = request_for(CA_ONE, 8)
TABLE = FaultTable.of("a cache")


def port_of(ours: Responder, second: int = NOW) -> EEServer:
    """The port of that responder, whose clock stands at that second."""
    server = make_server(ours)
    go_to(server, second)
    return server


def go_to(server: EEServer, second: int) -> None:
    server.clock.now = second
    server.tick()


async def ask(server: EEServer, condition: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a GET with that condition."""
    connection, transport = connect(server)
    connection.data_received(get(REQUEST, headers=condition and f"{condition}\r\n"))
    await until(lambda: transport.written)
    head, _, body = bytes(transport.written).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def since(server: EEServer, date: str) -> int:
    """The status for who has an answer of that date."""
    return (await ask(server, f"If-Modified-Since: {date}"))[0]


@TABLE.fault(
    "the clock of the responder's host is set back",
    "what was cached is made anew, with no time that lies ahead; `no-store` as long as the CRL's own do",
    "the clock is compared with those of the other members",
    "by itself",
)
@pytest.mark.parametrize("policy", [{}, {"live_times": True}], ids=["facts", "live"])
async def test_cached_answer_whose_times_lie_ahead_of_a_clock_that_was_set_back_is_not_given(policy):
    """A clock goes back, as when a wrong one is set right: no time in an answer lies ahead of it, cached or not."""
    server = port_of(responder(state(serving(CA_ONE, point(CA_ONE, accepted_at=NOW - 60), **policy)), SIGNER))
    for second in (NOW, NOW - 30 * 60, NOW - 2 * HOUR, NOW):
        go_to(server, second)
        _, headers, body = await ask(server)
        said = ocsp.load_der_ocsp_response(body)
        assert said.produced_at_utc.timestamp() <= second
        assert next(iter(said.responses)).this_update_utc.timestamp() <= second
        if "Last-Modified" in headers:  # what lay ahead of the clock is for nobody to keep
            assert parsedate_to_datetime(headers["Last-Modified"]).timestamp() <= second


# What is answered later; in all of these the serial was good before, or another signer signed.
AFTERWARDS = {
    "another CRL of the same second": lambda: serving(CA_ONE, point(CA_ONE, entry(8), accepted_at=NOW + 9)),
    "an older CRL of another scope": lambda: serving(
        CA_ONE, point(CA_ONE), point(CA_ONE, entry(8, Reason.KEY_COMPROMISE), this_update=NOW - 2 * HOUR)
    ),
    "a CA compromised before": lambda: serving(CA_ONE, point(CA_ONE), compromised_at=NOW - DAY),
    "a policy": lambda: serving(CA_ONE, point(CA_ONE), not_found_as_good=False),
    "a newer CRL": lambda: serving(CA_ONE, point(CA_ONE, entry(8), this_update=NOW + 5, accepted_at=NOW + 9)),
}


@TABLE.fault(
    "a CRL, a policy or a signer comes, and a cache asks `If-Modified-Since` a date that both answers have",
    "200 with the new answer, never 304",
    "nothing: `If-None-Match` has its 304 as ever",
    "by itself, with the next CRL",
)
@pytest.mark.parametrize("afterwards", AFTERWARDS.values(), ids=AFTERWARDS)
async def test_cache_with_the_former_answer_is_never_told_that_it_is_the_present_one(afterwards):
    """thisUpdate does not tell answers apart: a 304 would keep `good` alive for what is revoked by now."""
    ours = responder(state(serving(CA_ONE, point(CA_ONE))), SIGNER)
    server = port_of(ours)
    _, headers, _ = await ask(server)
    assert await since(server, headers["Last-Modified"]) == 304
    go_to(server, NOW + 10)
    ours.replace(state(afterwards(), version=2))
    for date in (headers["Last-Modified"], headers["Date"], http_date(NOW + 10).decode()):
        assert await since(server, date) == 200
    _, headers, _ = await ask(server)
    go_to(server, NOW + HOUR)
    assert await since(server, http_date(NOW + HOUR).decode()) == 304, "that long ago it was this one"
    assert (await ask(server, f"If-None-Match: {headers['ETag']}"))[0] == 304


async def test_cache_with_the_answer_of_a_former_signer_gets_that_of_the_present_one():
    """A 304 would keep a signature alive beyond the life of its signer."""
    ours = responder(state(serving(CA_ONE, point(CA_ONE))), SIGNER)
    server = port_of(ours)
    _, headers, _ = await ask(server)
    ours.sign_with({"new": signer(CA_ONE.issue_signer(), "new")}, "new")
    assert await since(server, headers["Last-Modified"]) == 200


async def test_cache_with_the_answer_of_a_former_slot_gets_that_of_the_present_one():
    """Live answers have a thisUpdate in common, but not a producedAt."""
    server = port_of(responder(state(serving(CA_ONE, point(CA_ONE), live_times=True)), SIGNER))
    _, headers, _ = await ask(server)
    for date in (headers["Last-Modified"], headers["Date"]):
        go_to(server, NOW + 60)
        assert await since(server, date) == 200
