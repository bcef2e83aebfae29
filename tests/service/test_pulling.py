"""When sources are asked, and what is known of them: no thread, no clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, DAY, NOW

from vouchd.errors import CRLQuarantined, CRLRejected, CRLStale, SourceError, StoreUnavailable
from vouchd.service.pulling import Fetched, Pulling, Schedule, Validator

HOUR = 3600


class ScriptedSource:
    """Delivers (or raises) one thing after the other and remembers the validators it was asked with."""

    poll_seconds = None
    host = ""

    def __init__(self, *script) -> None:
        self._script = list(script)
        self.validators: list[Validator] = []

    def fetch(self, previous):
        self.validators.append(previous)
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def fetched(*documents: bytes, etag: str = "1") -> Fetched:
    return Fetched(documents or (b"crl",), Validator(etag=etag))


def accept_with(*outcomes):
    """An `accept` that returns or raises one outcome after the other."""
    steps = list(outcomes)

    def accept(document):
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return accept


def pulling(*script, accept=None, schedule: Schedule | None = None, url: str = "http://crl.example/ca.crl") -> Pulling:
    source = ScriptedSource(*script)
    puller = Pulling("main", url, source, schedule or Schedule(), accept or accept_with(*[NOW + DAY] * 9))
    puller.source = source
    return puller


def test_new_crl_is_accepted_and_asked_for_again_after_the_interval():
    """After a success the source is asked again within the interval, shortened by no more than a tenth."""
    state = pulling(fetched()).attempt(NOW)
    assert (state.accepted, state.last_success, state.last_error) == (1, NOW, "")
    assert NOW + 0.9 * HOUR <= state.next_attempt <= NOW + HOUR


def test_crl_that_ends_before_the_interval_is_asked_for_before_its_next_update():
    """A source is asked before the CRL it delivered passes its nextUpdate."""
    state = pulling(fetched(), accept=accept_with(NOW + 1000)).attempt(NOW)
    assert state.next_update == NOW + 1000
    assert NOW + 600 < state.next_attempt <= NOW + 700


def test_ca_that_lies_beside_is_admitted_before_its_crl_is_taken():
    """A directory that is the store has CAs and CRLs; a CRL needs its CA."""
    order = []
    source = ScriptedSource(Fetched((b"crl",), Validator("1"), certificates=(b"ca",)))
    Pulling("x", "ldap://d", source, Schedule(), order.append, admit=order.append).attempt(NOW)
    assert order == [b"ca", b"crl"]


def test_what_cannot_be_taken_in_stops_nothing_beside_it():
    """A CA that is refused, a value that was left out, a CRL that is broken: the good CRL counts, and it is told."""
    taken = []

    def refuse(_):
        raise CRLRejected("no signer of ours may answer for it")

    source = ScriptedSource(*[Fetched((b"crl",), Validator("1"), (b"ca",), problem) for problem in ("", "too long")])
    puller = Pulling("x", "ldap://d", source, Schedule(), taken.append, admit=refuse)
    assert "no signer of ours" in puller.attempt(NOW).last_error
    assert (puller.state.accepted, taken) == (1, [b"crl"])
    puller = Pulling("x", "ldap://d", source, Schedule(), taken.append)
    assert "too long" in puller.attempt(NOW).last_error
    assert (puller.state.accepted, puller.state.validator) == (1, Validator())


def test_overdue_crl_is_asked_for_every_minute():
    """A source whose CRL has passed its nextUpdate is asked often, but not in a loop."""
    state = pulling(fetched(), accept=accept_with(NOW - 5)).attempt(NOW)
    assert NOW + 54 <= state.next_attempt <= NOW + 60


def test_several_crls_of_one_source_count_with_the_first_next_update():
    """A source with several CRLs is asked again before the first of them passes."""
    state = pulling(fetched(b"a", b"b"), accept=accept_with(NOW + DAY, NOW + 1000)).attempt(NOW)
    assert (state.accepted, state.next_update) == (2, NOW + 1000)


def test_unchanged_source_is_counted_and_asked_with_its_validator():
    """What a source delivered is compared with the next time; no change is a success."""
    source = pulling(fetched(etag="v1"), None)
    source.attempt(NOW)
    state = source.attempt(NOW + HOUR)
    assert source.source.validators == [Validator(), Validator(etag="v1")]
    assert (state.accepted, state.not_modified, state.last_success) == (1, 1, NOW + HOUR)


@pytest.mark.parametrize(("outcome", "not_modified"), [(CRLStale("held"), 1), (CRLQuarantined("held back"), 0)])
def test_crl_that_is_held_already_is_no_failure(outcome, not_modified):
    """After a restart the first fetch brings what is held already; that is no error, nor is quarantine, which is new."""
    state = pulling(fetched(etag="v1"), accept=accept_with(outcome)).attempt(NOW)
    assert (state.accepted, state.not_modified, state.last_error) == (0, not_modified, "")
    assert state.validator == Validator(etag="v1")


def test_crl_held_already_is_asked_for_before_its_next_update():
    """After a restart the schedule knows nextUpdate although nothing was taken in."""
    ca = CA.create()
    crl = ca.crl(next_update=NOW + 1000)
    state = pulling(fetched(crl), accept=accept_with(CRLStale("held"))).attempt(NOW)
    assert state.next_update == NOW + 1000
    assert state.next_attempt <= NOW + 700


def test_source_that_costs_nothing_is_asked_every_second():
    """A file is looked at as often as it says, not once an interval; its errors do not slow that down for long."""
    source = pulling(None, SourceError("gone"))
    source.source.poll_seconds = 1
    watched = Pulling("main", "x", source.source, Schedule(), accept_with())
    assert watched.attempt(NOW).next_attempt == NOW + 1
    assert watched.attempt(NOW).next_attempt <= NOW + 5


@pytest.mark.parametrize("outcome", [CRLRejected("bad signature"), StoreUnavailable("away")])
def test_crl_that_was_not_taken_is_fetched_again(outcome):
    """A CRL that was refused or could not be stored is fetched whole at the next attempt."""
    source = pulling(fetched(etag="v1"), fetched(etag="v1"), accept=accept_with(outcome, NOW + DAY))
    state = source.attempt(NOW)
    assert state.last_error == f"{type(outcome).__name__}: {outcome}"
    assert (state.failures, state.validator) == (1, Validator())
    assert source.attempt(NOW + 10).last_error == ""
    assert source.source.validators[1] == Validator()


def test_one_bad_crl_does_not_keep_the_others_out():
    """Of several CRLs the good ones are taken in although one is refused."""
    accept = accept_with(CRLRejected("bad"), NOW + DAY)
    state = pulling(fetched(b"bad", b"good"), accept=accept).attempt(NOW)
    assert (state.accepted, state.last_error) == (1, "CRLRejected: bad")


def test_failures_back_off_up_to_a_cap_and_recover():
    """Each failure in a row doubles the delay up to the cap; one success resets it."""
    schedule = Schedule(interval_seconds=DAY, retry_seconds=5, retry_cap_seconds=60)
    source = pulling(*[SourceError("down")] * 6, None, SourceError("down"), schedule=schedule)
    delays = [source.attempt(NOW).next_attempt - NOW for _ in range(6)]
    for delay, full in zip(delays, [5, 10, 20, 40, 60, 60], strict=True):
        assert 0.9 * full <= delay <= full
    assert source.attempt(NOW).failures == 0
    assert source.attempt(NOW).next_attempt - NOW <= 5


def test_failure_is_shown_and_the_last_success_kept():
    """A failure tells what is wrong without hiding when the source last worked."""
    source = pulling(fetched(), SourceError("status 500"))
    source.attempt(NOW)
    state = source.attempt(NOW + HOUR)
    assert (state.last_error, state.last_success, state.last_attempt) == ("SourceError: status 500", NOW, NOW + HOUR)


def test_bug_in_a_source_is_not_hidden():
    """Only errors of ours are a state; a bug reaches the outermost handler."""
    with pytest.raises(ZeroDivisionError):
        pulling(ZeroDivisionError()).attempt(NOW)


def test_state_shown_has_no_password_and_no_validator():
    """What is reported of a source holds no secret."""
    shown = pulling(url="ldap://cn=x:secret@host/dc=x").state.shown()
    assert "secret" not in str(shown)
    assert "validator" not in shown


@given(st.text(), st.integers(0, 10**6), st.integers(1, 7 * DAY), st.none() | st.integers(NOW - DAY, NOW + 30 * DAY))
def test_schedule_after_success_is_repeatable_and_in_the_future(name, attempt, interval, next_update):
    """The same history gives the same time: later than now, within the interval, before nextUpdate where possible."""
    schedule = Schedule(interval_seconds=interval)
    due = schedule.after_success(name, attempt, NOW, next_update)
    assert due == schedule.after_success(name, attempt, NOW, next_update)
    assert NOW < due <= NOW + interval
    if next_update is not None and next_update - NOW > 120:
        assert due < next_update


@given(st.text(), st.integers(0, 10**6), st.integers(1, 7 * DAY), st.integers(1, 10**9))
def test_schedule_after_failure_never_exceeds_the_cap(name, attempt, interval, failures):
    """However long a source fails, it is asked again within the cap and never in a loop."""
    due = Schedule(interval_seconds=interval).after_failure(name, attempt, NOW, failures)
    assert NOW < due <= NOW + 900


def test_crl_that_ends_soon_is_asked_for_at_half_of_the_time_that_is_left():
    """The lead is no longer than that: what is good for a few minutes is not asked for at once."""
    schedule = Schedule(lead_seconds=300)
    for left, before in ((400, 200), (599, 300), (601, 301), (900, 600)):
        due = schedule.after_success("main", 1, NOW, NOW + left)
        assert isinstance(due, int)
        assert NOW + 0.9 * before - 1 <= due <= NOW + before


def test_sources_and_attempts_are_spread_over_a_tenth_of_the_delay():
    """Many sources do not fire together, nor does one at the same second of each interval."""
    schedule = Schedule(interval_seconds=100_000, retry_cap_seconds=100_000)
    for due in (
        lambda name, attempt: schedule.after_success(name, attempt, NOW, None),
        lambda name, attempt: schedule.after_failure(name, attempt, NOW, 100),
    ):
        for delays in (
            [due(f"source {number}", 1) - NOW for number in range(500)],
            [due("source", number) - NOW for number in range(500)],
        ):
            assert len(set(delays)) > 450
            assert 90_000 <= min(delays) < 90_400
            assert 99_600 < max(delays) <= 100_000


def test_source_that_is_asked_each_second_is_asked_so_after_failures():
    """No failure makes the delay longer than the interval is."""
    schedule = Schedule(interval_seconds=1, retry_seconds=1)
    assert [schedule.after_failure("main", 1, NOW, failures) for failures in (1, 2, 9)] == [NOW + 1] * 3


def test_state_tells_which_source_it_is_and_how_often_it_was_asked():
    """Name, URL without a password and whether it is paused, from the first; each attempt is counted when it ended."""
    source = ScriptedSource(SourceError("down"), None, SourceError("down"))
    source.host = "crl.example"
    puller = Pulling("main", "http://u:secret@crl.example/a", source, Schedule(), accept_with())
    state = puller.state
    assert (state.name, state.url, state.paused) == ("main", "http://crl.example/a", False)
    assert puller.host == "crl.example"
    assert [puller.attempt(NOW).attempts for _ in range(3)] == [1, 2, 3]
    paused = Pulling("other", "file:/x", ScriptedSource(), Schedule(), accept_with(), paused=True).state
    assert (paused.name, paused.url, paused.paused) == ("other", "file:/x", True)


def test_next_attempt_is_that_of_the_schedule_for_this_source_and_attempt():
    """The same history gives the same schedule, whatever became of it before."""
    schedule = Schedule(interval_seconds=DAY)
    puller = pulling(SourceError("down"), fetched(), schedule=schedule)
    assert puller.attempt(NOW).next_attempt == schedule.after_failure("main", 1, NOW, 1)
    assert puller.attempt(NOW).next_attempt == schedule.after_success("main", 2, NOW, NOW + DAY)
