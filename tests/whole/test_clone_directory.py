"""Master and clones with a real 389 Directory Server each, which replicate; every command is a process of its own."""

from __future__ import annotations

import pytest
from tests.whole.clones import CloneSet
from tests.whole.directory_sets import clone, directory_set

from vouchd.core.facts import Transport

pytestmark = pytest.mark.process


def require_alike(site: CloneSet, *names: str) -> None:
    """The documented test: the same lists, and the same answers to the last byte."""
    first, *others = names
    for other in others:
        assert site.lists(other) == site.lists(first)
        for certificate in ("good", "bad"):
            assert site.said(other, certificate) == site.said(first, certificate)


@pytest.mark.parametrize("transport", list(Transport), ids=str)
def test_clone_gets_what_is_published_to_the_master_and_gives_what_it_gets(tmp_path, transport):
    """A CRL that is given to either member is answered from by both, in each of the three kinds of connection."""
    with directory_set(tmp_path, transport) as (site, servers):
        site.run(*clone(site, "c", servers["c"], transport))
        require_alike(site, "m", "c")
        site.revoke("bad")
        site.publish("m")
        site.until_says("c", "bad", "revoked")
        require_alike(site, "m", "c")
        site.revoke("good")
        site.publish("c")
        site.until_says("m", "good", "revoked")
        require_alike(site, "m", "c")
        assert site.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"


def test_clone_of_a_clone_replicates_with_all(tmp_path):
    """A third member is made from the clone; what it is given reaches the master and the clone."""
    plain = Transport.PLAIN
    with directory_set(tmp_path, plain, 3) as (site, servers):
        site.run(*clone(site, "c", servers["c"], plain))
        site.prepare("c")
        site.run(*clone(site, "d", servers["d"], plain))
        site.revoke("bad")
        site.publish("d")
        for name in ("m", "c"):
            site.until_says(name, "bad", "revoked")
        require_alike(site, "m", "c", "d")
