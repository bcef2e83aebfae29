"""Replication between real directory servers: mistakes that end quickly, and ids that are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.directory.site import REPLICATION_PASSWORD, Node, nodes

from vouchd.core.facts import Transport
from vouchd.directory import replica
from vouchd.directory.config_entries import changelog_dn
from vouchd.directory.suffix import backend_of
from vouchd.errors import ConfigError, LifecycleError

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def pair():
    """Two servers with TLS that do not replicate yet."""
    with nodes(2, Transport.STARTTLS) as pair:
        yield pair


def attempt(node: Node, peer, password: str = REPLICATION_PASSWORD) -> str:
    """Initialise `peer` from `node`, which fails with a reason and not by its deadline; the words of the error.

    The agreement is left: the server lets go of one only after it has tried for 15 s.
    """
    connection = node.connection()
    replica.agree(connection, node.server.suffix, peer, password)
    with pytest.raises(LifecycleError) as caught:
        replica.initialise(connection, node.server.suffix, peer, grace_seconds=0.5)
    connection.close()
    assert "not done in" not in str(caught.value)
    assert password not in str(caught.value) + caught.value.hint
    return f"{caught.value} {caught.value.hint}"


def test_wrong_replication_password_ends_initialisation_soon(pair):
    """A password that the other server refuses is told as such."""
    assert "replication password" in attempt(pair[0], pair[1].server, "not-this-one")


def test_closed_port_ends_initialisation_soon(pair):
    """A port where nobody listens is told as such."""
    assert "nothing listens" in attempt(pair[0], replace(pair[1].server, port=1))


def test_tls_to_a_plain_port_ends_initialisation_soon(pair):
    """LDAPS spoken to a plain port is told as a wrong transport."""
    assert "transport" in attempt(pair[0], replace(pair[0].server, transport=Transport.TLS))


def test_name_that_the_certificate_lacks_ends_initialisation_soon(pair):
    """A host name other than the certificate's is a TLS error that says so."""
    assert "TLS failed" in attempt(pair[0], replace(pair[1].server, host="127.0.0.3"))


def test_replica_id_is_kept(pair):
    """A server that is a replica does not take another id, and a repeated `enable` does nothing."""
    first = pair[0]
    connection = first.connection()
    assert replica.enable(connection, first.server) is False
    with pytest.raises(ConfigError, match="is replica 1, not 7"):
        replica.enable(connection, replace(first.server, replica_id=7))
    connection.close()


def test_changelog_is_trimmed_by_age_and_often(pair):
    """What is kept is bounded, and a server that is filled does not wait minutes for a thread that sleeps."""
    connection = pair[0].admin()
    backend = backend_of(connection, pair[0].server.suffix)
    entry = connection.read(changelog_dn(backend))
    assert entry.text("nsslapd-changelogmaxage") == "3d"
    assert int(entry.text("nsslapd-changelogtrim-interval")) <= 10
    connection.close()


@pytest.mark.parametrize("replica_id", [None, 0, 65535])
def test_replica_id_out_of_range_is_refused(pair, replica_id):
    """Ids are 1 to 65534: 65535 stands for consumers."""
    connection = pair[0].connection()
    with pytest.raises(ConfigError, match="replica id"):
        replica.enable(connection, replace(pair[0].server, replica_id=replica_id))
    connection.close()
