"""Who is believed to be the master: who was appointed by somebody who may, and nobody who says so of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.domain_site import a_clone, own_key

from vouchd.cloning.appointment import administrators, appoint, believed
from vouchd.core.facts import Group, Member, User

MASTER = replace(a_clone(1), clone=False, term=1)
SECOND, THIRD, STRANGER = a_clone(2), a_clone(3), a_clone(9)
KNOWN = (MASTER, SECOND, THIRD)
ALICE = own_key("alice")
APPOINTING = administrators(
    [
        User("alice", "Alice", frozenset({Group.ADMINISTRATORS}), (ALICE.signer.certificate_der,)),
        User("bob", "Bob", frozenset({Group.AGENTS}), (own_key("bob").signer.certificate_der,)),
        User(
            "gone", "Gone", frozenset({Group.ADMINISTRATORS}), (own_key("gone").signer.certificate_der,), enabled=False
        ),
    ]
)


def claim(member: Member, term: int, by: str, **changes: object) -> Member:
    """The member as it says it is, with an appointment by that key."""
    claimed = replace(member, clone=False, term=term)
    return replace(claimed, appointment=appoint(member, term, own_key(by)), **changes)


@pytest.mark.parametrize("by", ["alice", MASTER.host], ids=["an administrator", "the master before"])
def test_claim_that_was_appointed_is_believed(by):
    """An administrator, or the master that hands its role over, says who is the master."""
    assert believed([claim(SECOND, 2, by)], KNOWN, APPOINTING).id == SECOND.id


@pytest.mark.parametrize("by", [SECOND.host, THIRD.host, STRANGER.host, "bob", "gone"])
def test_claim_of_who_may_not_appoint_is_not_believed(by):
    """Neither the member itself nor another clone, neither an agent nor an administrator who was disabled."""
    assert believed([claim(SECOND, 2, by)], KNOWN, APPOINTING) == MASTER


@pytest.mark.parametrize("appointment", ["", "x", "a b c", f"{SECOND.tls_sha256} !! !!"], ids=range(4))
def test_claim_without_an_appointment_is_not_believed(appointment):
    """A term as high as one likes counts for nothing by itself."""
    assert believed([replace(SECOND, clone=False, term=99, appointment=appointment)], KNOWN, APPOINTING) == MASTER


def test_appointment_counts_for_its_member_and_term_alone():
    """It is no paper that somebody else, or the same member in another term, could show."""
    good = claim(SECOND, 2, "alice")
    for other in (replace(good, term=3), replace(good, host=THIRD.host), replace(good, secure_port=9443)):
        assert believed([other], KNOWN, APPOINTING) == MASTER


def test_key_of_a_known_member_is_the_known_one():
    """Who passes a claim on cannot put a key of its own into it."""
    passed_on = claim(SECOND, 2, "alice", tls_sha256=own_key(THIRD.host).sha256)
    assert believed([passed_on], KNOWN, APPOINTING).tls_sha256 == SECOND.tls_sha256


def test_member_that_is_not_known_yet_is_believed_with_the_key_that_was_appointed():
    """One that joined while this member was away may be the master when it comes back."""
    assert believed([claim(STRANGER, 2, "alice")], KNOWN, APPOINTING).id == STRANGER.id
    other_key = claim(STRANGER, 2, "alice", tls_sha256=own_key(THIRD.host).sha256)
    assert believed([other_key], KNOWN, APPOINTING) == MASTER


def test_claims_are_weighed_in_the_order_of_their_terms():
    """A member that missed two moves of the role believes the second by the first."""
    first, second = claim(SECOND, 2, MASTER.host), claim(THIRD, 3, SECOND.host)
    assert believed([second, first], KNOWN, ()).id == THIRD.id
    assert believed([second], KNOWN, ()) == MASTER


def test_claim_of_an_older_term_changes_nothing():
    """Who was away and still says that it is the master is told so, and not followed."""
    newer = replace(SECOND, clone=False, term=5)
    assert believed([claim(THIRD, 2, "alice")], (replace(MASTER, clone=True), newer, THIRD), APPOINTING) == newer
