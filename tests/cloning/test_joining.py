"""How an instance joins: how often a stranger may be wrong about its token."""

from __future__ import annotations

import pytest

from vouchd.cloning import joining
from vouchd.cloning.joining import LIMIT, Attempts
from vouchd.errors import NotFound, TryLater


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Seconds, to be set."""
    now = [1000.0]
    monkeypatch.setattr(joining.time, "monotonic", lambda: now[0])
    return now


def guess(tried: Attempts, origin: str = "192.0.2.1") -> None:
    with pytest.raises(NotFound), tried.by(origin):
        raise NotFound("no such token")


def test_limit_holds_an_address_off_and_no_other(clock):
    """After so many wrong attempts the next is not made; others are not concerned."""
    tried = Attempts()
    for _ in range(LIMIT):
        guess(tried)
    with pytest.raises(TryLater) as caught, tried.by("192.0.2.1"):
        pytest.fail("was let through")
    assert caught.value.hint
    guess(tried, "192.0.2.2")


def test_time_gives_new_attempts(clock):
    """A minute later it may try again."""
    tried = Attempts()
    for _ in range(LIMIT):
        guess(tried)
    clock[0] += joining.SECONDS
    guess(tried)


def test_right_attempts_and_other_errors_do_not_count(clock):
    """Who has a token may use it as often as it likes, whatever else is wrong."""
    tried = Attempts()
    for _ in range(LIMIT * 3):
        with tried.by("192.0.2.1"):
            pass
        with pytest.raises(ValueError, match="other"), tried.by("192.0.2.1"):
            raise ValueError("other")
    guess(tried)


def test_addresses_that_are_kept_have_an_end(clock, monkeypatch):
    """Whoever comes from ever new addresses costs no more memory than the limit."""
    monkeypatch.setattr(joining, "_MOST_ORIGINS", 5)
    tried = Attempts()
    for number in range(50):
        guess(tried, f"192.0.2.{number}")
    assert len(tried._refused) == 5
