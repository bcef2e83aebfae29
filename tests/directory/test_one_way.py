"""A Certificate System's data sent to a server of ours, one way: two real directory servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.directory.site import until
from tests.ds389 import ROOT_DN, Directory, directories

from vouchd.core.facts import Transport
from vouchd.directory import one_way, replica
from vouchd.directory.config_entries import READER_DN, agreement_name
from vouchd.directory.connection import Change, Connection, Credentials
from vouchd.directory.schema import ensure_schema
from vouchd.directory.setup import set_up
from vouchd.errors import ConfigError, StoreError

pytestmark = pytest.mark.directory

SUFFIX = "dc=theirs,dc=example"
READER, SENDER = "reader-password", "sender-password"
POINT = f"cn=CN-Site CA,{SUFFIX}"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Directory, Directory]]:
    """Theirs with a Certificate System's entries, and ours, empty."""
    with directories("ds1.vouchd.test", "ds2.vouchd.test", tls=False, suffix=SUFFIX) as (theirs, ours):
        admin = theirs.admin()
        ensure_schema(admin)
        admin.add(SUFFIX, {"objectClass": ["top", "domain"], "dc": ["theirs"]})
        classes = "( 2.16.840.1.117370.999.2.1 NAME 'CertACLS' SUP top STRUCTURAL MUST cn X-ORIGIN 'user defined' )"
        admin.modify("cn=schema", [Change("add", "objectClasses", (classes.encode(),))])
        admin.add(f"cn=aclResources,{SUFFIX}", {"objectClass": ["top", "CertACLS"], "cn": ["aclResources"]})
        admin.add(POINT, {"objectClass": ["top", "crlIssuingPointRecord"], "cn": ["CN-Site CA"], "crlNumber": ["1"]})
        admin.close()
        yield theirs, ours


@pytest.fixture(scope="module")
def sent(servers) -> tuple[Directory, Directory]:
    """Both, with ours filled from theirs."""
    theirs, ours = servers
    own, master = ours.admin(), theirs.admin()
    assert one_way.prepare_consumer(own, ours.server(), READER, SENDER) == ()
    one_way.send_to(master, theirs.server(), ours.server(), SENDER)
    replica.initialise(master, SUFFIX, ours.server())
    own.close()
    master.close()
    return theirs, ours


def reader(ours: Directory) -> Connection:
    """A connection of the account that reads."""
    return Connection(ours.server(), Credentials(READER_DN, READER))


def test_suffix_of_a_certificate_system_is_not_prepared_for_facts_of_ours(servers):
    """Set-up refuses it before it changes anything, a password included."""
    theirs, _ = servers
    admin = theirs.admin()
    with pytest.raises(ConfigError, match="is a Certificate System's"):
        set_up(admin, theirs.server(Transport.PLAIN, 1))
    assert admin.read("ou=csusers,cn=config") is None
    assert admin.read(f"ou=people,{SUFFIX}") is None
    admin.close()


def test_free_replica_id_is_taken_where_there_was_none(sent):
    """A server that was no replica becomes one, with an id that nobody has or had; one that is stays as it is."""
    theirs, _ = sent
    admin = theirs.admin()
    own = replica.replica_id_of(admin, SUFFIX)
    assert own in one_way.used_replica_ids(admin, SUFFIX)
    assert one_way.ensure_supplier(admin, theirs.server()) == own
    admin.close()


def test_change_there_arrives_and_can_be_read_here(sent):
    """What the master writes the reader of the clone sees; of all else it sees nothing."""
    theirs, ours = sent
    admin, reading = theirs.admin(), reader(ours)
    admin.modify(POINT, [Change("replace", "crlNumber", (b"2",))])
    assert until(lambda: reading.read(POINT, ["crlNumber"]).text("crlNumber") == "2")
    assert reading.search(SUFFIX, scope="sub", query="(cn=aclResources)") == ()
    admin.close()
    reading.close()


def test_nothing_can_be_written_here(sent):
    """Our server takes changes from theirs alone, even from its own manager, so that none can go back."""
    _, ours = sent
    for dn, password in ((READER_DN, READER), (ROOT_DN, None)):
        connection = ours.admin() if password is None else Connection(ours.server(), Credentials(dn, password))
        with pytest.raises((StoreError, ConfigError)):
            connection.modify(POINT, [Change("replace", "crlNumber", (b"9",))])
        connection.close()


def test_end_leaves_nothing_there(sent):
    """Agreement and right are gone, the entries are as they were, and it can begin again."""
    theirs, ours = sent
    admin = theirs.admin()
    one_way.stop_sending(admin, theirs.server(), ours.server())
    assert agreement_name(ours.server()) not in {one.name for one in replica.agreements(admin, SUFFIX, ours=False)}
    assert not admin.read(SUFFIX, ["aci"]).all("aci")
    one_way.send_to(admin, theirs.server(), ours.server(), SENDER)
    admin.modify(POINT, [Change("replace", "crlNumber", (b"3",))])
    reading = reader(ours)
    assert until(lambda: reading.read(POINT, ["crlNumber"]) is not None)
    assert until(lambda: reading.read(POINT, ["crlNumber"]).text("crlNumber") == "3")
    reading.close()
    admin.close()
