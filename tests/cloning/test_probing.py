"""What members are asked: certificates that the set itself knows, each in three ways."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.pki import CA, serial_octets
from tests.serving import entry, point, serving

from vouchd.cloning.comparison import Probe
from vouchd.cloning.probing import probes
from vouchd.core.status import ServingState
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS

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


def serials(probes, kind: str) -> set[bytes]:
    return {probe.question.cert_ids[0].serial for probe in probes if probe.kind == kind}


def usual(state: ServingState, sample: int, chosen=()) -> list[Probe]:
    """What is asked in the three ways in which most clients ask."""
    return [probe for probe in probes(state, sample, chosen) if not probe.form]


def test_sample_is_of_what_the_set_knows(state):
    """Revoked, held and issued ones as many as wanted or there are, one that was never issued, and an unknown CA."""
    probes = usual(state, 5)
    assert Counter(probe.kind for probe in probes) == {
        "revoked": 15,
        "held": 9,
        "issued": 15,
        "never issued": 3,
        "of an unknown CA": 3,
    }
    assert serials(probes, "revoked") <= {one.serial for one in REVOKED}
    assert serials(probes, "held") == {one.serial for one in HELD}
    listed = {one.serial for one in (*REVOKED, *HELD)}
    assert not serials(probes, "issued") & listed
    assert serials(probes, "issued") <= {serial_octets(number) for number in range(1, 31)}


def test_each_is_asked_by_get_by_post_and_with_a_nonce(state):
    """Three ways lead to an answer, and each may be wrong alone."""
    probes = usual(state, 1)
    assert Counter(probe.way for probe in probes) == dict.fromkeys(("GET", "POST", "POST with a nonce"), 5)
    assert {probe.authority for probe in probes} == {state.authorities[0].authority.label, ""}


def test_chosen_serials_are_asked_about_alone(state):
    """Who names serials wants those and no others."""
    probes = usual(state, 5, [b"\x07", b"\x63"])
    assert [probe.kind for probe in probes] == ["chosen"] * 6
    assert serials(probes, "chosen") == {b"\x07", b"\x63"}


def test_one_of_each_ca_is_asked_about_in_every_form(state):
    """Each digest, several certificates at once, each algorithm that a client may prefer, and a signed request."""
    ways = {probe.way for probe in probes(state, 1, ()) if probe.form}
    assert {f"{method}, {digest}" for method in ("GET", "POST") for digest in DIGESTS if digest != "SHA-256"} <= ways
    assert {f"{way}, 4 certificates" for way in ("GET", "POST", "POST with a nonce")} <= ways
    assert {f"POST, preferring {name}" for name in ALGORITHMS} <= ways
    assert {"POST, signed", "POST, all digests in one"} <= ways


def test_every_form_is_a_request_that_can_be_read(state):
    """What is asked is what was meant: digests, certificates, preferred algorithms, a signature that verifies."""
    by_form = {probe.form: parse_request(probe.question.request_der) for probe in probes(state, 1, ()) if probe.form}
    assert {one.digest for one in by_form["all digests in one"].cert_ids} == set(DIGESTS)
    assert [one.digest for one in by_form["SHA-1"].cert_ids] == ["SHA-1"]
    assert len(by_form["4 certificates"].cert_ids) == 4
    preferring = by_form["preferring SHA384withEC"]
    assert preferring.preferred == (ALGORITHMS["SHA384withEC"].identifier_der,)
    assert preferring.signature is None
    assert by_form["signed"].signature is not None


def test_forms_are_asked_of_some_cas_where_there_are_many(monkeypatch, state):
    """Thousands of CAs are not asked about in every form each time; who is, is drawn anew."""
    monkeypatch.setattr("vouchd.cloning.probing.FORMS_OF", 1)
    twice = ServingState(1, state.authorities * 2)
    assert len({id(probe.question) for probe in probes(twice, 1, ()) if probe.form == "signed"}) == 1


def test_most_are_shared_among_the_cas_where_there_are_many(state):
    """However many CAs there are, so many certificates are asked about together, one of each CA at least."""
    for count, most, each in ((3, 6, 2), (3, 90, 14), (4, 4, 1), (9, 4, 1)):
        several = ServingState(1, state.authorities * count)
        asked_about = [one for one in probes(several, 5, most=most) if not one.form and one.way == "GET"]
        known = [one for one in asked_about if one.authority]
        assert len(known) == each * min(count, most)


def test_most_hold_for_a_ca_with_many_issuing_points(state):
    """A CA that partitions its CRLs is asked about as often as another one; chosen serials are all asked about."""
    (served,) = state.authorities
    partitioned = ServingState(1, (replace(served, points=served.points * 100),))
    assert len([one for one in probes(partitioned, 5, most=10) if not one.form and one.authority]) == 3 * 10
    serials_of = [bytes([number]) for number in range(1, 20)]
    assert len([one for one in probes(partitioned, 5, serials_of, 10) if not one.form]) == 3 * 19
