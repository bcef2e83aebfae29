"""Former CRLs over REST: kept within bounds, listed, downloaded, compared."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from tests.agent.agent_port import crl
from tests.api.conftest import opened

from vouchd.clock import SystemClock
from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId
from vouchd.service.arrivals import Retention

HOLD, COMPROMISE = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.key_compromise


def take(api, revoked, age: int, **facts) -> bytes:
    """A CRL that is taken in; `age` in seconds."""
    made = crl(api.site, revoked, age=age, **facts)
    api.port.services.ingesting.accept_crl(made, "test", api.port.services.caller, SystemClock().now())
    return made


def place(api) -> str:
    (authority,) = (one for one in api.port.services.store.authorities() if one.label == "Site")
    return f"/authorities/{authority.id}/issuing-points/complete"


@pytest.fixture
def taken(api):
    """Serial 12 alone, then 13 with it, then 12 for another reason and 14, 13 no more."""
    take(api, {12: COMPROMISE, 13: HOLD}, 120)
    take(api, {12: HOLD, 14: None}, 60)
    return api


def test_history_has_former_crls_the_newest_first(taken):
    """What is in use and what was, each with its bytes; nobody else sees them."""
    kept = taken.get(place(taken) + "/history")
    numbers = [one["crl"]["crl_number"] for one in kept]
    assert [one["in_use"] for one in kept] == [True, False, False]
    assert numbers == sorted(numbers, reverse=True)
    for one in kept:
        body = taken.get(f"{place(taken)}/history/{one['crl']['sha256'][:12]}")
        assert hashlib.sha256(body).hexdigest() == one["crl"]["sha256"]
    assert taken.ask("GET", place(taken) + "/history", user="member of nothing")[0] == 403


def test_difference_names_serials_with_reason_and_date(taken):
    """Which came, which went, which are listed otherwise, in parts."""
    newest, middle, _ = (one["crl"]["crl_number"] for one in taken.get(place(taken) + "/history"))
    difference = taken.get(f"{place(taken)}/difference?before={middle}&after={newest}")
    assert [difference[name] for name in ("came", "went", "changed", "entries_before", "entries_after")] == [
        1,
        1,
        1,
        2,
        2,
    ]
    changes = {int(one["serial"], 16): one for one in difference["changes"]}
    assert {serial: one["change"] for serial, one in changes.items()} == {12: "changed", 13: "went", 14: "came"}
    assert (changes[12]["before"]["reason"], changes[12]["after"]["reason"]) == ("keyCompromise", "certificateHold")
    assert changes[13]["after"] is None
    part = taken.get(f"{place(taken)}/difference?before={middle}&after={newest}&skip=1&limit=1")
    assert [int(one["serial"], 16) for one in part["changes"]] == [13]


@pytest.mark.parametrize(("name", "status"), [("999", 404), ("deadbeef", 404), ("1e", 404)])
def test_crl_that_is_not_kept_is_not_there(taken, name, status):
    """A number, or digits, of nothing that is kept."""
    assert taken.ask("GET", f"{place(taken)}/history/{name}")[0] == status


def test_history_is_bounded_by_the_settings(tmp_path):
    """The oldest goes, and its document with it."""
    with opened(tmp_path / "vouchd", **{"vouchd.crl.former": "1"}) as api:
        first = take(api, {12: COMPROMISE}, 300)
        for age in (120, 60):
            take(api, {12: COMPROMISE, age: None}, age)
        assert len(api.get(place(api) + "/history")) == 2
        assert api.ask("GET", f"{place(api)}/history/{hashlib.sha256(first).hexdigest()}")[0] == 404


def record(name: str, this_update: int, size: int = 10) -> CRLRecord:
    return CRLRecord(name, size, this_update, None, this_update)


POINT = IssuingPointId("ca")


def test_retention_keeps_the_newest_within_its_bounds():
    """So many, of so many octets; one that is too large for what is left is passed over, and none is kept twice."""
    before = Epoch(POINT, 2, record("c", 3), 3, former=(record("b", 2, 90), record("a", 1)))
    after = Epoch(POINT, 3, record("d", 4), 4)
    names = lambda kept: [one.sha256 for one in kept]  # noqa: E731
    assert names(Retention(9, 1000).former(before, after)) == ["c", "b", "a"]
    assert names(Retention(2, 1000).former(before, after)) == ["c", "b"]
    assert names(Retention(9, 50).former(before, after)) == ["c", "a"]
    assert names(Retention(9, 1000).former(before, Epoch(POINT, 3, record("b", 2), 4))) == ["c", "a"]
    assert Retention().former(before, after) == ()
    assert Retention(9, 9).former(None, after) == ()
