"""Agreements as their servers tell of them."""

from __future__ import annotations

import pytest

from vouchd.directory.agreements import agreement_of
from vouchd.directory.connection import Entry

GIVEN_UP = b"Error (401) Replication error acquiring replica: replica is no replica. Replication is aborting."


@pytest.mark.parametrize(("refresh", "aborted"), [((), True), ((b"start",), False)])
def test_agreement_whose_server_fills_the_other_one_has_not_been_given_up(refresh, aborted):
    """What a server said before it began to fill the other one is old: nobody may begin the agreement anew for it."""
    told = {"nsds5replicalastupdatestatus": (GIVEN_UP,), "nsds5beginreplicarefresh": refresh}
    assert agreement_of(Entry("cn=a", told)).aborted is aborted
