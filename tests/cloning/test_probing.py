"""What members are asked: certificates that the set itself knows, each in three ways."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.pki import CA, serial_octets
from tests.serving import entry, point, serving

from vouchd.cloning.probing import probes
from vouchd.core.status import ServingState
from vouchd.pkix.reasons import Reason

SITE = CA.create("Site CA")
REVOKED = [entry(number) for number in range(1, 8)]
HELD = [entry(number, Reason.CERTIFICATE_HOLD) for number in range(20, 23)]


class Serials(tuple):
    """A SerialSet in memory."""

    __slots__ = ()

    def at(self, position: int) -> bytes:
        return self[position]


@pytest.fixture
def state():
    """A CA that has issued 1 to 30 and lists ten of them."""
    issued = Serials(serial_octets(number) for number in range(1, 31))
    return ServingState(1, (serving(SITE, point(SITE, *REVOKED, *HELD), issued=issued),))


def serials(asked, kind: str) -> set[bytes]:
    return {probe.question.cert_ids[0].serial for probe in asked if probe.kind == kind}


def test_sample_is_of_what_the_set_knows(state):
    """Revoked, held and issued ones as many as wanted or there are, one that was never issued, and an unknown CA."""
    asked = list(probes(state, 5, ()))
    assert Counter(probe.kind for probe in asked) == {
        "revoked": 15,
        "held": 9,
        "issued": 15,
        "never issued": 3,
        "of an unknown CA": 3,
    }
    assert serials(asked, "revoked") <= {one.serial for one in REVOKED}
    assert serials(asked, "held") == {one.serial for one in HELD}
    listed = {one.serial for one in (*REVOKED, *HELD)}
    assert not serials(asked, "issued") & listed
    assert serials(asked, "issued") <= {serial_octets(number) for number in range(1, 31)}


def test_each_is_asked_by_get_by_post_and_with_a_nonce(state):
    """Three ways lead to an answer, and each may be wrong alone."""
    asked = list(probes(state, 1, ()))
    assert Counter(probe.way for probe in asked) == dict.fromkeys(("GET", "POST", "POST with a nonce"), 5)
    assert {probe.authority for probe in asked} == {state.authorities[0].authority.label, ""}


def test_chosen_serials_are_asked_about_alone(state):
    """Who names serials wants those and no others."""
    asked = list(probes(state, 5, [b"\x07", b"\x63"]))
    assert [probe.kind for probe in asked] == ["chosen"] * 6
    assert serials(asked, "chosen") == {b"\x07", b"\x63"}
