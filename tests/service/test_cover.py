"""What a CA's CRLs leave uncovered is said, with the line that mends it."""

from __future__ import annotations

import shlex

import pytest
from tests.pki import CA
from tests.service.recording import AGENT
from tests.service.world import World, partition

from vouchd.service.cover import cover_notice

URI = "http://ca.test/all.crl"


def notice(world: World) -> tuple[str, str]:
    (authority,) = world.store.authorities()
    return cover_notice(authority, world.store.epochs())


def test_only_crl_that_names_its_distribution_point_is_said_with_what_mends_it(world, ca):
    """EJBCA and Microsoft name the point in a CRL that lists all: by itself it proves nothing of an unlisted serial."""
    world.accept(ca.crl({5: None}, idp=partition(URI)))
    what, mend = notice(world)
    assert "unknown" in what
    assert shlex.split(mend)[-1] == "--named-point-covers-all"
    world.set_policy(ca, named_point_covers_all=True)
    assert notice(world) == ("", "")


@pytest.mark.parametrize("idp", [partition(URI, only_user=True), partition(only_user=True)])
def test_partition_is_said_to_be_one(world, ca, idp):
    """A CRL of some certificates needs the others beside it, or the operator's word on which are all."""
    world.accept(ca.crl({5: None}, idp=idp))
    what, mend = notice(world)
    assert "do not cover" in what
    assert "--expected-scope" in mend


def test_complete_crl_or_none_yet_needs_no_word(world, ca):
    """Nothing is said where nothing is to be mended, nor of what another CA has."""
    assert notice(world) == ("", "")
    world.accept(ca.crl({5: None}))
    assert notice(world) == ("", "")
    other = CA.create("Other CA")
    world.authorities.add(other.der, AGENT)
    authority = world.authorities.find("CN=Other CA")
    assert cover_notice(authority, world.store.epochs()) == ("", "")
