"""An operator's word for one step back: who may give it, what it is for, what is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import HOUR, NOW
from tests.service.recording import ADMIN, AGENT

from vouchd.errors import NotFound, PermissionDenied
from vouchd.service.admitting import StepBack
from vouchd.service.permission import Permission
from vouchd.service.stepping_back import EVENT, step_back


@pytest.fixture
def epochs(world, ca):
    """Two epochs of one issuing point, the older one first."""
    (older,) = world.accept(ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR))
    (newer,) = world.accept(ca.crl({}, number=2))
    return older, newer


def give(world, stored, served, caller, words: list[StepBack]):
    permission = Permission(world.audit)
    return step_back(stored, served, words.append, permission, world.audit, caller, "the CA was wrong")


def test_word_of_an_administrator_is_for_one_step_and_recorded(world, epochs):
    """The word names what is served and what takes its place; the audit log has both numbers and the reason."""
    older, newer = epochs
    words: list[StepBack] = []
    assert give(world, older, [newer], ADMIN, words) == newer
    assert words == [StepBack(newer.index_name, older.index_name)]
    event, caller, outcome, detail = world.audit.records[-1]
    assert (event, caller, outcome) == (EVENT, "admin", "success")
    assert (detail["crl_number"], detail["instead_of"], detail["reason"]) == (1, 2, "the CA was wrong")


def test_word_of_anybody_else_is_refused(world, epochs):
    """Who takes CRLs in may not take revocations back."""
    older, newer = epochs
    words: list[StepBack] = []
    with pytest.raises(PermissionDenied):
        give(world, older, [newer], AGENT, words)
    assert not words


def test_word_without_a_step_is_refused(world, epochs):
    """Where the store has what is served, or nothing is served, there is nothing to allow."""
    _, newer = epochs
    elsewhere = replace(newer, issuing_point=replace(newer.issuing_point, scope_id="ab"))
    for served in ([newer], [], [elsewhere]):
        with pytest.raises(NotFound):
            give(world, newer, served, ADMIN, [])
