"""An account that binds with a client certificate: mapped by a real server, over TLS and StartTLS, through a renewal."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from tests.directory.site import Node, prepare
from tests.ds389 import directories, root
from tests.pki import CA, DAY, NOW, shared_key

from vouchd.core.facts import Transport
from vouchd.directory.account import ensure_certificate
from vouchd.directory.client_certificate import ClientIdentity
from vouchd.directory.config_entries import REPLICATION_DN, SERVICE_DN
from vouchd.directory.connection import Connection, Credentials
from vouchd.errors import ConfigError, StoreUnavailable, VouchdError
from vouchd.stores.ldap.store import DirectoryStore

pytestmark = pytest.mark.interop

TLS = (Transport.TLS, Transport.STARTTLS)


@pytest.fixture(scope="module")
def node():
    """A server with TLS, made by the product and set up."""
    with directories("ds1.vouchd.test") as (directory,):
        yield prepare(directory, Transport.TLS, None, clone=False)


def identity(name: str, ca: CA | None = None, key: int = 3) -> ClientIdentity:
    """A client's certificate and key."""
    issued = (ca or root()).issue(name, key=shared_key("RSA", key), not_after=NOW + 3600 * DAY)
    pem = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ClientIdentity((x509.load_pem_x509_certificate(issued.pem),), pem)


def certify(node: Node, certificate: bytes) -> None:
    """Have the instance's account bind with that certificate."""
    admin = node.admin()
    ensure_certificate(admin, SERVICE_DN, certificate)
    admin.close()


def bound(node: Node, *identities: ClientIdentity, transport: Transport = Transport.TLS) -> str:
    """Who the server takes the owner of these for."""
    credentials = Credentials(SERVICE_DN, identities=lambda: identities)
    connection = Connection(node.directory.server(transport), credentials, node.directory.trust)
    try:
        return connection.raw.whoami_s()
    finally:
        connection.close()


def descriptors() -> set[str]:
    """What files in memory this process has open."""
    links = list(Path("/proc/self/fd").iterdir())
    return {name for link in links if link.is_symlink() and "client-identity" in (name := str(link.readlink()))}


@pytest.mark.parametrize("transport", TLS)
def test_certificate_of_the_account_binds_without_a_password(node, transport):
    """SASL EXTERNAL makes the owner of the registered certificate the instance's account; no file of it stays."""
    mine = identity("Subsystem, of vouchd", key=3)
    certify(node, mine.der)
    assert bound(node, mine, transport=transport) == f"dn: {SERVICE_DN}"
    assert not descriptors()


@pytest.mark.parametrize("transport", TLS)
def test_certificate_of_the_same_name_is_refused(node, transport):
    """The name alone lets nobody in: the certificate must be the registered one."""
    certify(node, identity("vouchd subsystem", key=3).der)
    with pytest.raises(StoreUnavailable, match="refused with its client certificate"):
        bound(node, identity("vouchd subsystem", key=4), transport=transport)


def test_certificate_of_a_foreign_ca_is_refused(node):
    """A CA that the server does not trust lets nobody in, whatever name it certifies."""
    certify(node, identity("vouchd subsystem").der)
    with pytest.raises(StoreUnavailable, match="refused with its client certificate"):
        bound(node, identity("vouchd subsystem", CA.create("Foreign"), key=4))


def test_renewed_certificate_is_made_known_by_the_one_before(node):
    """After a renewal the account is let in with the old certificate once, and then with the new one alone."""
    before, after = identity("vouchd before", key=3), identity("vouchd after", key=4)
    certify(node, before.der)
    with pytest.raises(StoreUnavailable):
        bound(node, after)
    assert bound(node, after, before) == f"dn: {SERVICE_DN}"
    assert bound(node, after) == f"dn: {SERVICE_DN}"


def test_account_changes_no_certificate_but_its_own(node):
    """What the account may write of itself it may not write of the replication account, nor anything else of itself."""
    mine = identity("vouchd subsystem")
    certify(node, mine.der)
    connection = Connection(node.server, Credentials(SERVICE_DN, identities=lambda: [mine]), node.directory.trust)
    try:
        with pytest.raises(ConfigError, match="no right"):
            ensure_certificate(connection, REPLICATION_DN, mine.der)
        with pytest.raises(VouchdError, match="no right"):
            ensure_certificate(connection, SERVICE_DN, mine.der)  # its object classes and rights
    finally:
        connection.close()


def test_store_works_with_a_certificate_alone(node):
    """The store binds, writes and reads with the certificate; the password is not needed."""
    mine = identity("vouchd subsystem")
    certify(node, mine.der)
    store = DirectoryStore(node.server, SERVICE_DN, "", node.directory.trust, identities=lambda: [mine])
    try:
        assert store.authorities() == ()
        assert store.revision() > 0
    finally:
        store.close()


def test_key_is_in_no_representation(tmp_path):
    """What is printed of an identity or of credentials has no key in it."""
    issued = root().issue("vouchd subsystem", key=shared_key("RSA", 3))
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(issued.pem)
    key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    key.chmod(0o600)
    loaded = ClientIdentity.load(certificate, key, "secret")
    assert "PRIVATE" not in repr(loaded) + repr(Credentials(SERVICE_DN, "word", lambda: [loaded]))
    assert b"PRIVATE" in loaded.key_pem
