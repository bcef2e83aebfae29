"""The agent port's TLS: who may shake hands, with what, and how certificate and trust change while it serves."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.pki import CA, DAY, HOUR, Issued

from vouchd.errors import ConfigError, SigningError
from vouchd.instance.certificates.tls import AgentTLS, server_context
from vouchd.settings.tcp_ports import AgentPort, KeyFiles
from vouchd.signing.keys import write_key

PASSWORD = "secret"


def issue(ca: CA, name: str, usage: x509.ObjectIdentifier, **kw) -> Issued:
    """A certificate for TLS that is valid now."""
    now = int(time.time())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    extensions = ((x509.ExtendedKeyUsage([usage]), False), (names, False))
    return ca.issue(name, not_before=kw.pop("not_before", now - HOUR), not_after=now + DAY, extensions=extensions, **kw)


def install(folder: Path, server: Issued, name: str = "sslserver") -> KeyFiles:
    """The server's key and certificate as files."""
    files = KeyFiles(folder / f"{name}.key", folder / f"{name}.pem")
    files.key_file.unlink(missing_ok=True)
    write_key(files.key_file, server.key, PASSWORD)
    files.certificate_file.write_bytes(server.pem)
    return files


def client_context(ca: CA, folder: Path, user: Issued | None = None) -> ssl.SSLContext:
    """A client that trusts `ca` and brings the certificate of `user`."""
    context = ssl.create_default_context(cadata=ca.der)
    if user is not None:
        path = folder / "client.pem"
        key = user.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + user.pem)
        context.load_cert_chain(path)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection in memory. Raises: ssl.SSLError of whoever refuses."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(up, down, server_side=True),
        client.wrap_bio(down, up, server_hostname="localhost"),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create("TLS CA")


@pytest.fixture
def agent(ca, tmp_path) -> AgentPort:
    return AgentPort(tls=install(tmp_path, issue(ca, "server", ExtendedKeyUsageOID.SERVER_AUTH)))


def test_server_context_without_a_client_certificate_shakes_hands(agent, ca, tmp_path):
    """A client certificate is asked for and not demanded."""
    server, client = shake_hands(server_context(agent, PASSWORD, [ca.der]), client_context(ca, tmp_path))
    assert server.getpeercert(binary_form=True) is None
    assert client.getpeercert()["subject"] == ((("commonName", "server"),),)


def test_server_context_with_a_certificate_of_a_trusted_ca_knows_its_client(agent, ca, tmp_path):
    """The certificate that the client brought is there byte for byte."""
    user = issue(ca, "agent", ExtendedKeyUsageOID.CLIENT_AUTH)
    server, _ = shake_hands(server_context(agent, PASSWORD, [ca.der]), client_context(ca, tmp_path, user))
    assert server.getpeercert(binary_form=True) == user.der


def test_server_context_with_a_trusted_certificate_needs_no_ca(agent, ca, tmp_path):
    """A certificate that is trusted itself is let in although its CA is not known."""
    user = issue(CA.create("Other CA"), "agent", ExtendedKeyUsageOID.CLIENT_AUTH)
    server, _ = shake_hands(server_context(agent, PASSWORD, [user.der]), client_context(ca, tmp_path, user))
    assert server.getpeercert(binary_form=True) == user.der


def test_server_context_takes_a_user_s_certificate_for_no_ca(agent, ca, tmp_path):
    """Whoever is trusted by its own certificate cannot let others in by signing theirs."""
    user = issue(CA.create("Other CA"), "agent", ExtendedKeyUsageOID.CLIENT_AUTH)
    friend = issue(CA(user.certificate, user.key), "friend", ExtendedKeyUsageOID.CLIENT_AUTH)
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(agent, PASSWORD, [user.der]), client_context(ca, tmp_path, friend))


@pytest.mark.parametrize(
    ("usage", "start", "trusted"),
    [
        (ExtendedKeyUsageOID.CLIENT_AUTH, -HOUR, False),
        (ExtendedKeyUsageOID.CLIENT_AUTH, HOUR, True),
        (ExtendedKeyUsageOID.CODE_SIGNING, -HOUR, True),
    ],
    ids=["foreign", "not yet valid", "not for TLS clients"],
)
def test_server_context_with_an_unfit_client_certificate_refuses(agent, ca, tmp_path, usage, start, trusted):
    """A certificate of an unknown CA, outside its validity or for another use ends the handshake."""
    user = issue(ca if trusted else CA.create("Other CA"), "agent", usage, not_before=int(time.time()) + start)
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(agent, PASSWORD, [ca.der]), client_context(ca, tmp_path, user))


def test_server_context_speaks_tls_1_2_at_least(agent, ca):
    """Nothing older than TLS 1.2 is spoken."""
    assert server_context(agent, PASSWORD, [ca.der]).minimum_version is ssl.TLSVersion.TLSv1_2


def test_server_context_with_a_trust_file_lets_its_cas_in(agent, ca, tmp_path):
    """The CAs of vouchd.agent.trust count like those that are registered."""
    other = CA.create("Other CA")
    (tmp_path / "trust.pem").write_bytes(other.pem)
    agent = AgentPort(tls=agent.tls, trust_file=tmp_path / "trust.pem")
    user = issue(other, "agent", ExtendedKeyUsageOID.CLIENT_AUTH)
    server, _ = shake_hands(server_context(agent, PASSWORD, []), client_context(ca, tmp_path, user))
    assert server.getpeercert(binary_form=True) == user.der


@pytest.mark.parametrize("password", ["wrong", None])
def test_server_context_with_a_wrong_password_raises(agent, password):
    """A key that cannot be opened is an error, and nobody is asked for its password at a terminal."""
    with pytest.raises(SigningError, match="password is wrong"):
        server_context(agent, password, [])


def test_server_context_with_a_foreign_key_raises(agent, ca):
    """A certificate of another key is refused."""
    agent.tls.certificate_file.write_bytes(issue(ca, "other", ExtendedKeyUsageOID.SERVER_AUTH).pem)
    with pytest.raises(SigningError, match="not the certificate of"):
        server_context(agent, PASSWORD, [])


def test_server_context_with_a_key_that_others_may_read_raises(agent):
    """The key file's mode is checked."""
    agent.tls.key_file.chmod(0o644)
    with pytest.raises(SigningError, match="others may read it"):
        server_context(agent, PASSWORD, [])


def test_agent_tls_reloaded_shows_the_new_certificate(agent, ca, tmp_path):
    """A handshake after reload() sees the certificate that is installed now, on the context the server started with."""
    tls = AgentTLS(agent, PASSWORD, [ca.der])
    install(tmp_path, issue(ca, "renewed", ExtendedKeyUsageOID.SERVER_AUTH))
    tls.reload([ca.der])
    _, client = shake_hands(tls.context, client_context(ca, tmp_path))
    assert client.getpeercert()["subject"] == ((("commonName", "renewed"),),)


def test_agent_tls_reloaded_without_a_ca_refuses_its_clients(agent, ca, tmp_path):
    """Trust that was taken away is gone for the next handshake; trust that was added is there."""
    other = CA.create("Other CA")
    tls = AgentTLS(agent, PASSWORD, [ca.der])
    tls.reload([other.der])
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.context, client_context(ca, tmp_path, issue(ca, "agent", ExtendedKeyUsageOID.CLIENT_AUTH)))
    user = issue(other, "agent", ExtendedKeyUsageOID.CLIENT_AUTH)
    server, _ = shake_hands(tls.context, client_context(ca, tmp_path, user))
    assert server.getpeercert(binary_form=True) == user.der


def test_agent_tls_reload_that_fails_keeps_what_was(agent, ca, tmp_path):
    """A broken certificate file does not take the port down."""
    tls = AgentTLS(agent, PASSWORD, [ca.der])
    agent.tls.certificate_file.write_bytes(b"rubbish")
    with pytest.raises(SigningError):
        tls.reload([ca.der])
    _, client = shake_hands(tls.context, client_context(ca, tmp_path))
    assert client.getpeercert()["subject"] == ((("commonName", "server"),),)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_server_context_speaks_no_version_older_than_the_settings_say(agent, ca, tmp_path, version):
    """minTLS=1.3 refuses a client that speaks 1.2 alone."""
    client = client_context(ca, tmp_path)
    client.maximum_version = version
    server = server_context(replace(agent, min_tls="1.3"), PASSWORD, [ca.der])
    if version is ssl.TLSVersion.TLSv1_2:
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client)
    else:
        assert shake_hands(server, client)[0].version() == "TLSv1.3"


def test_server_context_offers_the_ciphers_of_the_settings(agent, ca, tmp_path):
    """With a list of ciphers TLS 1.2 has one of it."""
    client = client_context(ca, tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server = server_context(replace(agent, ciphers="ECDHE+CHACHA20"), PASSWORD, [ca.der])
    assert "CHACHA20" in shake_hands(server, client)[0].cipher()[0]


def test_server_context_of_unknown_ciphers_is_refused(agent, ca):
    """What the TLS library does not know is a mistake in the settings, and named."""
    with pytest.raises(ConfigError, match=r"vouchd\.agent\.ciphers"):
        server_context(replace(agent, ciphers="NOTHING"), PASSWORD, [ca.der])
