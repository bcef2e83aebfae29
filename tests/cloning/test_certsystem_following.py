"""Following a Certificate System's database: a real directory server, and an instance in a folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from tests.directory.site import Node, prepare
from tests.ds389 import PASSWORD, ROOT_DN, directories
from tests.pki import CA, DAY, HOUR
from tests.sites import Site

from vouchd.core.facts import Transport
from vouchd.directory.connection import Change
from vouchd.instance.configuration import write_values
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import CERTSYSTEM, read_passwords, replace_passwords
from vouchd.wiring.services import services
from vouchd.wiring.sources import certificate_system

pytestmark = pytest.mark.directory

MINUTE = 60


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A directory server that knows the Certificate System's classes."""
    with directories("ds1.vouchd.test", tls=False) as (directory,):
        yield prepare(directory, Transport.PLAIN, None, clone=False)


@pytest.fixture
def site(tmp_path, monkeypatch, node, capsys) -> Iterator[Site]:
    """An instance that follows that server; the entries of the test are gone afterwards."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    site = Site.make(tmp_path)
    assert site.create() == 0
    layout = Layout(site.instance)
    url = f"{node.directory.url}/{node.server.suffix}"
    write_values(layout, {"vouchd.certsystem.url": url, "vouchd.certsystem.bindDN": ROOT_DN})
    replace_passwords(layout.password_conf, read_passwords(layout.password_conf) | {CERTSYSTEM: PASSWORD})
    yield site
    admin = node.admin()
    for entry in admin.search(node.server.suffix, scope="one", query="(objectClass=crlIssuingPointRecord)"):
        admin.delete(entry.dn)
    admin.close()


def crl(ca: CA, number: int, age: int, *serials: int) -> bytes:
    """A CRL that is fresh now, made so many seconds ago."""
    now = int(time.time())
    return ca.crl(dict.fromkeys(serials), number=number, this_update=now - age, next_update=now + DAY)


def write(node: Node, ca: CA, crl_der: bytes, name: str = "") -> str:
    """The entry of the CA as the Certificate System leaves it after a publication; its DN."""
    name = name or f"CN-{ca.certificate.subject.rfc4514_string()[3:]}"
    dn, admin = f"cn={name},{node.server.suffix}", node.admin()
    values = {"cACertificate": ca.der, "certificateRevocationList": crl_der, "crlCache": b"\xac\xed\x00\x05java"}
    if admin.read(dn) is None:
        entry = {attribute: [value] for attribute, value in values.items()}
        admin.add(dn, {"objectClass": ["top", "crlIssuingPointRecord"], "cn": [name], **entry})
    else:
        admin.modify(dn, [Change("replace", attribute, (value,)) for attribute, value in values.items()])
    admin.close()
    return dn


def numbers(opened) -> dict[str, int | None]:
    """The number of the CRL that is held, by its CA."""
    labels = {one.id: one.label for one in opened.store.authorities()}
    return {labels[epoch.issuing_point.authority_id]: epoch.base.crl_number for epoch in opened.store.epochs()}


def test_published_crl_is_taken_over_and_an_older_one_is_not(site, node):
    """A change is judged like a push: newer is taken, older or the same again is passed over, gone changes nothing."""
    dn = write(node, site.ca, crl(site.ca, 5, HOUR, 0x51))
    with services(Layout(site.instance)) as opened:
        (following,) = certificate_system(opened)
        assert following.look() == 1
        assert following.look() == 0
        write(node, site.ca, crl(site.ca, 6, MINUTE, 0x51, 0x52))
        assert following.look() == 1
        write(node, site.ca, crl(site.ca, 4, 2 * HOUR))
        assert following.look() == 0
        admin = node.admin()
        admin.delete(dn)
        admin.close()
        assert following.look() == 0
        assert numbers(opened) == {"CN=Site CA": 6}


def test_entry_that_cannot_be_believed_is_named_and_costs_the_others_nothing(site, node):
    """A forged CRL and a CA that has not certified the signer stand in the state; the good CA is followed."""
    other = CA.create("Other CA", kind="P-384")
    forged = write(node, site.ca, other.crl({}), "a-forged")
    stranger = write(node, other, crl(other, 1, MINUTE), "b-stranger")
    with services(Layout(site.instance)) as opened:
        (following,) = certificate_system(opened)
        state = following.attempt(1)
        assert forged in state.last_error
        assert f"{stranger}: " in state.last_error
        assert state.failures == 0
        write(node, site.ca, crl(site.ca, 7, MINUTE), "c-good")
        assert following.look() == 1
        assert numbers(opened) == {"CN=Site CA": 7}


def test_change_ends_the_wait(site, node):
    """Who waits is woken by the server, not by a clock: the attempt ends with the change taken over."""
    write(node, site.ca, crl(site.ca, 8, HOUR))
    with services(Layout(site.instance)) as opened:
        (following,) = certificate_system(opened)
        following.attempt(1)
        waiting = threading.Thread(target=following.attempt, args=(2,))
        waiting.start()
        write(node, site.ca, crl(site.ca, 9, MINUTE))
        waiting.join()
        while numbers(opened) != {"CN=Site CA": 9}:  # the server tells of what was there before the search stood, too
            following.attempt(3)
        assert following.state.accepted == 2


def test_server_that_is_away_is_a_failure_with_a_pause(site, node, tmp_path):
    """The state says why, and the next attempt is later."""
    layout = Layout(site.instance)
    write_values(layout, {"vouchd.certsystem.bindDN": "cn=nobody,cn=config"})
    with services(layout) as opened:
        (following,) = certificate_system(opened)
        state = following.attempt(100)
        assert state.failures == 1
        assert "the bind was refused" in state.last_error
        assert state.next_attempt > 100
