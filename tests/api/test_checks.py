"""The readiness checks as functions of the report: which of them decide, and by what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vouchd.api.checks import Check, checks
from vouchd.instance.report import InstanceReport, ServedPoint, WorkerReport

NOW = 1_795_000_000
POINT = ServedPoint("ab" * 32, "complete", "Root", 1, 7, NOW - 900, NOW + 900, NOW - 800, 3, 120)
SOUND = InstanceReport(
    1, NOW - 60, ("127.0.0.1", 1), ("127.0.0.1", 2), 1, issuing_points=(POINT,), workers=(WorkerReport(0, 2, 1),)
)


def failing(report: InstanceReport) -> dict[str, Check]:
    """The checks that decide and fail, by name."""
    return {one.name: one for one in checks(report, None, NOW) if one.required and not one.ok}


def test_sound_instance_passes_every_check_that_decides():
    """One CRL that every worker answers from is what readiness needs."""
    assert failing(SOUND) == {}


def test_serving_fails_without_any_crl_alone():
    """An instance without a CRL answers every question tryLater: a balancer must not send it any."""
    (check,) = failing(replace(SOUND, issuing_points=())).values()
    assert (check.name, check.detail) == ("serving", "0 issuing points are answered from")


@pytest.mark.parametrize("count", [1, 3])
def test_serving_passes_from_the_first_crl_on(count):
    """How many CRLs there are does not matter, nor whether they are past nextUpdate: another check tells of that."""
    old = replace(POINT, next_update=NOW - 1)
    (check,) = (
        one for one in checks(replace(SOUND, issuing_points=(old,) * count), None, NOW) if one.name == "serving"
    )
    assert (check.ok, check.required, check.detail) == (True, True, f"{count} issuing points are answered from")
