"""The same questions to two responders: counted, explained, asked again, never too fast, reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.client.answers import HTTPRequest, Respond, always, answer, ask_for, loopback
from tests.pki import CA, DAY, HOUR, NOW

from vouchd.client.inquiry import build_request, encode_cert_id
from vouchd.client.transport import Connection, Method
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import Likeness
from vouchd.core.facts import Authority
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import VerificationError
from vouchd.migration.captures import RecordedRequest
from vouchd.migration.shadow import Shadowing, replayed, signed, verified
from vouchd.signing.software import SoftwareSigner

AUTHORITY = CA.create()
SIGNER = AUTHORITY.issue_signer(not_before=NOW - DAY)
PROBE = Probe("x", ask_for(AUTHORITY), Method.POST, "Test CA")


class FixedClock:
    """It is always the moment of the tests."""

    def now(self) -> int:
        return NOW


@contextmanager
def two(ours: Respond, theirs: Respond, **more) -> Iterator[Shadowing]:
    """Both over HTTP."""
    with ExitStack() as stack:
        servers = [stack.enter_context(loopback(respond)) for respond in (ours, theirs)]
        connections = [stack.enter_context(Connection(server.url)) for server in servers]
        settings = {"rate": 10_000, "settle_seconds": 0, **more}
        yield Shadowing(*connections, FixedClock(), lambda: None, **settings)


def one_after_the_other(*bodies: bytes) -> Respond:
    """Answers in that order, the last one for ever."""
    left = list(bodies)

    def respond(request: HTTPRequest) -> tuple[int, dict[str, str], bytes]:
        return always(left.pop(0) if len(left) > 1 else left[0])(request)

    return respond


def said(**more) -> bytes:
    """An answer of the signer."""
    return answer(AUTHORITY, SIGNER, **more)


def test_planted_differences_are_counted_by_what_explains_them():
    """A nextUpdate left out is expected, a status that differs is not, and each is told with its question."""
    plain, untold, revoked = said(), said(next_update=None), said(revoked=True)
    with two(always(plain), one_after_the_other(plain, untold, untold, revoked)) as shadowing:
        tally = shadowing.run([PROBE] * 4, None)
    assert (tally.questions, tally.likeness[Likeness.EQUAL], tally.unexplained) == (4, 1, 1)
    assert tally.expectations["nextUpdate"] == 2
    record = tally.record(NOW)
    (example,) = record["examples"]
    assert example["request"] == PROBE.question.request_der.hex()
    assert "certStatus" in {one["field"] for one in example["differences"]}
    assert 'vouchd_compare_questions{likeness="unexplained"} 1' in tally.metrics()


def test_crl_on_its_way_is_asked_about_again_until_it_has_come():
    """What is unexplained for a moment, while a CRL is published, does not count when it settles."""
    old, new = said(this_update=NOW - 2 * HOUR), said()
    with two(always(new), one_after_the_other(old, new), settle_seconds=60) as shadowing:
        tally = shadowing.run([PROBE], None)
    assert (tally.questions, tally.unexplained, tally.settled) == (1, 0, 1)


def test_comparison_that_is_stopped_tells_what_came_so_far():
    """A stop ends it before the next question, and the counts stay."""
    with two(always(said()), always(said())) as shadowing:
        questions = iter([PROBE, PROBE])

        def until_stopped() -> Iterator[Probe]:
            yield next(questions)
            shadowing.stopped.set()
            yield next(questions)

        assert shadowing.run(until_stopped(), None).questions == 1


def test_responder_that_is_away_is_unexplained_and_counted_by_side():
    """No answer is no likeness, and the report says whose."""
    with two(always(said()), always(said())) as shadowing:
        shadowing._theirs = Connection("http://127.0.0.1:9/")  # the port of discard, where nobody listens
        tally = shadowing.run([PROBE], None)
    assert (tally.unexplained, tally.unanswered["theirs"], tally.unanswered["ours"]) == (1, 1, 0)


def test_request_of_a_client_is_compared_as_it_was_asked():
    """A recorded request of one of our CAs is verified by it, and one of nobody's is asked all the same."""
    state = ServingState(1, (ServingAuthority(Authority("a", AUTHORITY.der, "Test CA"), ()),))
    stranger = ask_for(CA.create("Stranger", kind="P-384")).request_der
    ours = ask_for(AUTHORITY, digest="SHA-1").request_der
    requests = [
        RecordedRequest(ours, Method.GET),
        RecordedRequest(stranger, Method.POST),
        RecordedRequest(b"0", Method.GET),
    ]
    known, unknown, garbage = replayed(state, requests)
    assert (known.authority, known.method, known.question.issuer) == ("Test CA", Method.GET, AUTHORITY.certificate)
    assert (unknown.authority, unknown.question.issuer) == ("", None)
    assert (garbage.question.request_der, garbage.question.issuer) == (b"0", None)  # the other may answer it


def test_request_that_names_the_ca_by_its_key_alone_is_one_of_that_ca():
    """A client that has the wrong name of the issuer is told of with the CA whose key it names."""
    state = ServingState(1, (ServingAuthority(Authority("a", AUTHORITY.der, "Test CA"), ()),))
    (cert_id,) = PROBE.question.cert_ids
    request = build_request([encode_cert_id(cert_id._replace(issuer_name_hash=bytes(32)))])
    (probe,) = replayed(state, [RecordedRequest(request, Method.POST)])
    assert (probe.authority, probe.question.issuer) == ("Test CA", AUTHORITY.certificate)


def test_difference_that_comes_often_hides_none_that_comes_once():
    """The report has one example of each way in which answers differ, with its number, and the CAs of what it expects."""
    good, revoked, untold = said(), said(revoked=True), said(next_update=None)
    earlier = said(this_update=NOW - 2 * HOUR)
    with two(always(good), one_after_the_other(*[revoked] * 150, earlier, untold)) as shadowing:
        record = shadowing.run([PROBE] * 152, None).record(NOW)
    assert [one["count"] for one in record["examples"]] == [150, 1]
    assert {one["name"]: one["authorities"] for one in record["expectations"]} == {"nextUpdate": {"Test CA": 1}}


def test_signed_report_is_believed_only_as_it_was_signed():
    """A report that was changed, or is none, is refused."""
    document = signed({"questions": 4, "unexplained": 0}, SoftwareSigner("audit", SIGNER.key, SIGNER.der))
    report, certificate = verified(json.dumps(document).encode())
    assert (report["questions"], certificate) == (4, SIGNER.certificate)
    document["report"]["unexplained"] = 1
    for text in (json.dumps(document).encode(), b"{}", b"no JSON"):
        with pytest.raises(VerificationError):
            verified(text)
