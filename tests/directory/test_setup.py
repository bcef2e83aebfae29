"""Setting up a directory server: repeatable, and an account that may do its work and nothing else."""

from __future__ import annotations

from dataclasses import replace

import ldap
import pytest
from tests.directory.site import REPLICATION_PASSWORD, nodes, prepare
from tests.ds389 import directories

from vouchd.core.facts import Transport
from vouchd.directory import replica
from vouchd.directory.account import let_in
from vouchd.directory.config_entries import (
    REPLICATION_DN,
    SERVICE_DN,
    agreement_dn,
    agreement_name,
    mapping_tree_dn,
)
from vouchd.directory.connection import Change, Connection, Credentials
from vouchd.directory.health import ask, read_vector
from vouchd.directory.setup import set_up
from vouchd.directory.suffix import backend_of, ensure_backend
from vouchd.errors import ConfigError, StoreUnavailable

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def node():
    """One server, set up and a replica with an agreement."""
    with nodes(1) as (node,):
        connection = node.connection()
        replica.agree(connection, node.server.suffix, peer_of(node), REPLICATION_PASSWORD)
        connection.close()
        yield node


def peer_of(node):
    """A server that is not there."""
    return replace(node.server, host="elsewhere.vouchd.test", port=389, replica_id=2)


def test_repeated_set_up_changes_nothing_but_passwords(node):
    """Set-up may be repeated: no step fails, the old password ends, the new one is taken, data stays."""
    old = node.connection()
    old.add(f"cn=kept,ou=chunks,{node.server.suffix}", {"objectClass": ["vouchdDocumentChunk"], "cn": ["kept"]})
    again = prepare(node.directory, Transport.PLAIN, 1, clone=False)
    assert again.made.password != node.made.password
    with pytest.raises(StoreUnavailable, match="refused"):
        Connection(node.server, Credentials(SERVICE_DN, node.made.password))
    node.made = again.made
    connection = again.connection()
    assert connection.read(f"cn=kept,ou=chunks,{node.server.suffix}", ["cn"])
    assert len(replica.agreements(connection, node.server.suffix)) == 1


def test_steps_are_named_in_order():
    """Each step is told before it is done, and a clone's suffix is left to come from the master."""
    with directories("ds1.vouchd.test", tls=False) as (directory,):
        server = directory.server(replica_id=5)
        admin = Connection(server, Credentials("cn=Directory Manager", "directory-test"))
        names: list[str] = []
        made = set_up(admin, server, clone=True, step=names.append)
        assert names == ["schema", "database", "limits", "indexes", "accounts", "rights", "replica"]
        assert admin.read(server.suffix) is None
        assert replica.replica_id_of(admin, server.suffix) == 5
        assert not made.restart_for
        assert made.password not in repr(made)
        assert made.replication_password not in repr(made)


def test_suffix_that_the_server_lacks_gets_a_database(node):
    """A server of somebody else's is given a database for the suffix, once."""
    admin = node.admin()
    assert backend_of(admin, "dc=other,dc=example") is None
    name = ensure_backend(admin, "dc=other,dc=example")
    assert name != "userRoot"
    assert backend_of(admin, "dc=other,dc=example") == name == ensure_backend(admin, "dc=other,dc=example")


def test_account_does_its_work(node):
    """The instance's account reads and writes the data, and reads, makes and removes agreements."""
    connection = node.connection()
    dn = f"cn=work,ou=chunks,{node.server.suffix}"
    connection.add(dn, {"objectClass": ["vouchdDocumentChunk"], "cn": ["work"]})
    connection.modify(dn, [Change("replace", "vouchdChunk", (b"x",))])
    assert int(connection.read(dn, ["entryusn"]).text("entryusn")) > 0
    connection.delete(dn)
    assert read_vector(connection, node.server.suffix).replica_id == 1
    connection.modify(
        agreement_dn(node.server.suffix, agreement_name(peer_of(node))),
        [Change("replace", "nsds5ReplicaEnabled", (b"on",))],
    )


UNREADABLE = (
    "cn=config",
    SERVICE_DN,
    REPLICATION_DN,
    "cn=userRoot,cn=ldbm database,cn=plugins,cn=config",
    "cn=features,cn=config",
)


@pytest.mark.parametrize("dn", UNREADABLE)
def test_account_cannot_read_configuration(node, dn):
    """Nothing of the server's configuration is readable for it: not the accounts, not their passwords."""
    assert node.connection().read(dn) is None
    assert node.admin().read(dn) is not None


def test_account_cannot_read_the_replication_password(node):
    """It sets the credentials of agreements, but does not read them."""
    connection, dn = node.connection(), agreement_dn(node.server.suffix, agreement_name(peer_of(node)))
    assert connection.read(dn).text("nsDS5ReplicaHost") == "elsewhere.vouchd.test"
    assert not connection.read(dn, ["nsDS5ReplicaCredentials"]).all("nsDS5ReplicaCredentials")
    assert node.admin().read(dn, ["nsDS5ReplicaCredentials"]).all("nsDS5ReplicaCredentials")


FORBIDDEN = (
    ("cn=config", "nsslapd-sizelimit", b"1"),
    ("cn=config", "nsslapd-rootpw", b"mine-now"),
    (SERVICE_DN, "userPassword", b"mine-now"),
    (REPLICATION_DN, "sn", b"mine-now"),
    (REPLICATION_DN, "aci", b'(targetattr="*")(version 3.0; acl "x"; allow (all) userdn="ldap:///anyone";)'),
    ("cn=schema", "attributeTypes", b"( 2.25.1 NAME 'x' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )"),
    (mapping_tree_dn("o=ocsp.example"), "nsslapd-state", b"disabled"),
    ("cn=userRoot,cn=ldbm database,cn=plugins,cn=config", "nsslapd-readonly", b"on"),
    ("cn=changelog,cn=userRoot,cn=ldbm database,cn=plugins,cn=config", "nsslapd-encryptionalgorithm", b"AES"),
    ("o=ocsp.example", "aci", b'(targetattr="*")(version 3.0; acl "x"; allow (all) userdn="ldap:///anyone";)'),
)


@pytest.mark.parametrize(("dn", "attribute", "value"), FORBIDDEN)
def test_account_cannot_change_what_is_not_its_own(node, dn, attribute, value):
    """Configuration, accounts, schema and access rules are beyond its rights."""
    with pytest.raises(ConfigError, match="no right"):
        node.connection().modify(dn, [Change("replace", attribute, (value,))])


def test_account_renews_the_password_of_the_replication_account(node):
    """The set renews by itself what a member that left has known; several are taken while members move over."""
    let_in(node.connection(), ["the next", REPLICATION_PASSWORD])
    for password in ("the next", REPLICATION_PASSWORD):
        Connection(node.server, Credentials(REPLICATION_DN, password)).close()
    let_in(node.connection(), [REPLICATION_PASSWORD])
    with pytest.raises(StoreUnavailable):
        Connection(node.server, Credentials(REPLICATION_DN, "the next"))


@pytest.mark.parametrize("container", ["cn=export,cn=tasks,cn=config", "cn=sysconfig reload,cn=tasks,cn=config"])
def test_account_starts_no_task_but_cleaning(node, container):
    """Tasks that write files or reload the server are not for it."""
    task = {"objectClass": ["top", "extensibleObject"], "cn": ["x"], "nsInstance": ["userRoot"], "nsFilename": ["/x"]}
    with pytest.raises(ConfigError, match="no right"):
        node.connection().add(f"cn=x,{container}", task)


def test_replication_account_reads_the_update_vector_alone(node):
    """The other servers' account sees which changes are there, and no data, no agreements, no configuration."""
    assert ask(node.server, REPLICATION_PASSWORD).replica_id == 1
    connection = Connection(node.server, Credentials(REPLICATION_DN, REPLICATION_PASSWORD))
    assert connection.read(node.server.suffix) is None
    assert connection.read("cn=config") is None
    dn = agreement_dn(node.server.suffix, agreement_name(peer_of(node)))
    assert connection.read(dn, ["nsDS5ReplicaHost", "nsDS5ReplicaCredentials"]).attributes == {}


def test_stranger_sees_nothing(node):
    """Without a bind nothing but the root DSE is readable."""
    raw = ldap.initialize(node.directory.url)
    raw.simple_bind_s()
    assert raw.search_s("", ldap.SCOPE_BASE, attrlist=["vendorVersion"])
    with pytest.raises(ldap.LDAPError):
        raw.search_s(node.server.suffix, ldap.SCOPE_SUBTREE)
