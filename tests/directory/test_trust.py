"""A directory server whose certificate is not trusted is told from one that is away."""

from __future__ import annotations

import pytest
from tests.directory.tls_port import tls_port
from tests.ds389 import HOSTS, SUFFIX, identity, root
from tests.pki import CA
from tests.ports import free_port

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory.connection import Connection, Credentials
from vouchd.errors import StoreUnavailable

HOST = "ds2.vouchd.test"


def refusal(port: int, trust) -> StoreUnavailable:
    """Why there is no connection to that port."""
    with pytest.raises(StoreUnavailable) as caught:
        Connection(DirectoryServer(HOST, port, Transport.TLS, SUFFIX), Credentials("cn=x", "y"), trust)
    return caught.value


@pytest.fixture
def trust(tmp_path):
    """The file with the CA that is trusted."""
    path = tmp_path / "trust.pem"
    path.write_bytes(root().pem)
    return path


@pytest.mark.parametrize(
    ("host", "ca", "why"),
    [(HOST, CA.create("Another CA"), "certificate"), ("ds9.vouchd.test", root(), "Hostname mismatch")],
    ids=["another CA", "another name"],
)
def test_certificate_that_is_not_trusted_is_told_with_the_reason(tmp_path, trust, host, ca, why):
    """The hint is about CA file and name, not whether the server runs."""
    with tls_port(tmp_path, identity(host, ca), HOSTS[HOST]) as port:
        error = refusal(port, trust)
    assert "TLS failed" in str(error)
    assert why in str(error)
    assert "CA file" in error.hint


def test_server_that_is_away_is_told_as_such(trust):
    """Nobody at the port: the certificate is not what is wrong."""
    error = refusal(free_port(HOSTS[HOST]), trust)
    assert "TLS failed" not in str(error)
    assert error.hint == "is the directory server running?"
