"""Certificates that end soon are told every day."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.pki import DAY, NOW

from vouchd.pkix.purposes import Validity
from vouchd.processes.upkeep import expiring, warn_daily

CERTIFICATES = {"fresh": Validity(NOW, NOW + 365 * DAY), "old": Validity(NOW - 340 * DAY, NOW + 25 * DAY)}


class Days:
    """A clock that a pause moves on; the third pause ends the test."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at

    async def pause(self, seconds: float) -> None:
        if self.at >= NOW + 2 * DAY:
            raise asyncio.CancelledError
        self.at += int(seconds)


def test_expiring_names_only_what_ends_soon():
    """A certificate with much time left is not spoken of."""
    assert expiring(CERTIFICATES, NOW) == {"old": "expires in 25 days"}


async def test_warn_daily_logs_each_day_what_is_left(caplog):
    """Each day has its line, with the days that are left and the command that renews."""
    days = Days()
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await warn_daily(CERTIFICATES, days, days.pause)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "the certificate old expires in 24 days",
        "the certificate old expires in 23 days",
    ]
    assert "vouchd certs renew" in caplog.text
