"""An old CRL does not come back: not after a restart, not with a CA that was removed and added again."""

from __future__ import annotations

import pytest
from tests.faults.site import Site
from tests.pki import CA, HOUR, NOW
from tests.service.recording import AGENT

from vouchd.errors import CRLForked, CRLStale
from vouchd.service.authorities import Authorities


@pytest.fixture
def ca() -> CA:
    return CA.create("Lab CA")


@pytest.fixture
def crls(ca) -> tuple[bytes, bytes, bytes]:
    """An old CRL, the newest one, and another of the newest one's number."""
    return (
        ca.crl({1: None}, number=1, this_update=NOW - 2 * HOUR),
        ca.crl({1: None, 2: None}, number=2, this_update=NOW - HOUR),
        ca.crl({}, number=2, this_update=NOW - HOUR + 1),
    )


@pytest.fixture
def folder(tmp_path, ca, crls):
    """A site that has taken both, closed."""
    site = Site(tmp_path)
    site.add_ca(ca.der)
    for crl in crls[:2]:
        site.accept(crl)
    site.close()
    return tmp_path


def test_restart_old_and_forked_crls_are_still_refused(folder, crls):
    """What is held, and how new it is, is known after a restart."""
    old, newest, forked = crls
    site = Site(folder)
    for crl, error in ((old, CRLStale), (newest, CRLStale), (forked, CRLForked)):
        with pytest.raises(error):
            site.accept(crl)
    site.publish()
    assert site.served() == (2, {1, 2})
    site.close()


def test_restart_between_removing_and_adding_the_ca_old_crl_is_refused(folder, ca, crls):
    """The high-water mark is on disk and outlives the CA; the newest CRL is taken again."""
    old, newest, _ = crls
    site = Site(folder)
    Authorities(site.store, site.permission, site.audit).remove("CN=Lab CA", AGENT)
    site.close()
    site = Site(folder)
    site.add_ca(ca.der)
    with pytest.raises(CRLStale):
        site.accept(old)
    site.accept(newest)
    site.publish()
    assert site.served() == (2, {1, 2})
    site.close()
