"""Agreements as their servers tell of them."""

from __future__ import annotations

import pytest

from vouchd.directory.agreements import agreement_of
from vouchd.directory.connection import Entry
from vouchd.directory.replica import is_cut_short

GIVEN_UP = b"Error (401) Replication error acquiring replica: replica is no replica. Replication is aborting."


@pytest.mark.parametrize(("refresh", "aborted"), [((), True), ((b"start",), False)])
def test_agreement_whose_server_fills_the_other_one_has_not_been_given_up(refresh, aborted):
    """What a server said before it began to fill the other one is old: nobody may begin the agreement anew for it."""
    attributes = {"nsds5replicalastupdatestatus": (GIVEN_UP,), "nsds5beginreplicarefresh": refresh}
    assert agreement_of(Entry("cn=a", attributes)).aborted is aborted


@pytest.mark.parametrize(
    ("ended", "refresh", "cut_short"),
    [("20261129002522Z", (b"start",), True), ("19700101000000Z", (b"start",), False), ("20261129002522Z", (), False)],
)
def test_filling_that_was_stopped_says_for_ever_that_it_goes_on(ended, refresh, cut_short):
    """389 DS says "in progress" of a filling whose agreement was stopped, and has the time of its end beside that."""
    attributes = {
        "nsds5replicalastinitstatus": (b"Error (0) Total update in progress",),
        "nsds5replicalastinitstart": (b"20261129002519Z",),
        "nsds5replicalastinitend": (ended.encode(),),
        "nsds5beginreplicarefresh": refresh,
    }
    assert is_cut_short(agreement_of(Entry("cn=a", attributes))) is cut_short
