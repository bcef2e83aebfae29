"""The clock of the host, which may be set while somebody waits for a moment."""

from __future__ import annotations

import time

from vouchd.clock import wait_until

AT = 1_000_000


class Times:
    """A clock that tells one time after the other; a nap lets it go on, by as long as was slept or to where it is set."""

    def __init__(self, monkeypatch, now: float, **set_to: float) -> None:
        self.now, self.naps = now, list[float]()
        self._set_to = list(set_to.values())
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now = self._set_to.pop(0) if self._set_to else self.now + seconds


def test_wait_until_returns_when_the_moment_has_come(monkeypatch):
    """It waits in short naps, so that a clock that is set on is noticed."""
    times = Times(monkeypatch, AT - 2.0)
    assert wait_until(AT, 2.0)
    assert times.now >= AT
    assert max(times.naps) < 0.1
    assert wait_until(AT, 2.0), "it has come already"
    assert wait_until(AT, 0.0)


def test_wait_until_gives_up_where_the_clock_is_set_back(monkeypatch):
    """Who waits for a moment within seconds does not sleep for the hour by which somebody set the clock back."""
    times = Times(monkeypatch, AT - 1.0, back=AT - 3600.0)
    assert not wait_until(AT, 2.0)
    assert len(times.naps) == 1


def test_wait_until_notices_a_clock_that_is_set_on(monkeypatch):
    """The moment has come when the clock says so."""
    times = Times(monkeypatch, AT - 2.0, on=AT + 60.0)
    assert wait_until(AT, 2.0)
    assert len(times.naps) == 1
