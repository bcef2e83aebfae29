"""A master with its agent port open, and clients of it as its members and as strangers."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL, SECONDS, AgentPort, Reply, agent_port, issue
from tests.pki import CA

from vouchd.cloning.client import Identity, PeerClient
from vouchd.cloning.membership import own_member
from vouchd.cloning.proof import BINDING, HEADER, MemberKey
from vouchd.core.facts import Member
from vouchd.signing.software import SoftwareSigner

HOST = "ocsp1.example.org"
VALUES = {"vouchd.domain.host": HOST, "vouchd.agent.port": "8443", "ocsp.store.defStore.refreshInSec": "600"}


class Master(AgentPort):
    """The port of a master; only its name in the registry is not where it listens."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its TLS certificate."""
        return own_member(self.services.settings).tls_sha256

    def token(self, seconds: int = 600) -> str:
        return self.services.domain.issue_token(LOCAL, seconds)[0]

    def joining(self, number: int = 2) -> PeerClient:
        """A client of that clone: with the keys of the set and its own, whether it is registered or not."""
        return self.client("enterprise", own=own_key(a_clone(number).host))

    def member(self, number: int = 2) -> PeerClient:
        """The same, after it has joined."""
        clone, client = a_clone(number), self.joining(number)
        if clone.id not in {known.id for known in self.services.store.members()}:
            client.join(clone, self.token())
        return client

    def ask_as(self, number: int, method: str, path: str, body: bytes | None = None) -> Reply:
        """One request of that clone, member or not, with whatever body."""
        context = self.context("enterprise")
        with closing(http.client.HTTPSConnection("localhost", self.port, context=context, timeout=SECONDS)) as link:
            link.connect()
            proof = own_key(a_clone(number).host).proof(link.sock.get_channel_binding(BINDING))
            link.request(method, path, body, {HEADER: proof})
            response = link.getresponse()
            return Reply(response.status, response.headers, response.read())

    def client(self, user: str | None = None, *, fingerprint: str = "", own: MemberKey | None = None) -> PeerClient:
        """A client that comes with the certificate of that user; that of `enterprise` is shared by all members."""
        identity = None
        if user is not None:
            folder, issued = self.services.layout.root, self.users[user]
            certificate, key = folder / f"{user}.pem", folder / f"{user}.key"
            certificate.write_bytes(issued.pem)
            encryption = BestAvailableEncryption(b"secret")
            key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
            identity = Identity(certificate, key, "secret", own)
        return PeerClient("localhost", self.port, fingerprint or self.fingerprint, identity)


@cache
def own_key(host: str) -> MemberKey:
    """The key of the TLS server of that host, always the same."""
    issued = issue(CA.create("Hosts CA"), host, ExtendedKeyUsageOID.SERVER_AUTH)
    return MemberKey(SoftwareSigner("member", issued.key, issued.der))


def a_clone(number: int = 2, **changes: object) -> Member:
    """An instance that would join."""
    host = f"ocsp{number}.example.org"
    facts = {"secure_port": 8443, "ee_port": 8080, "name": f"OCSP {host}", "clone": True, "joined_at": 0}
    return Member(**({"host": host, "tls_sha256": own_key(host).sha256} | facts | changes))


@contextmanager
def a_master(folder: Path, **values: str) -> Iterator[Master]:
    """A master of an embedded set whose registry has only itself."""
    with agent_port(folder, **VALUES, **values) as port:
        port.__class__ = Master
        port.services.domain.create(own_member(port.services.settings), LOCAL)
        port.publish()
        yield port
