"""A master with its agent port open, and clients of it as its members and as strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.agent.agent_port import LOCAL, AgentPort, agent_port

from vouchd.cloning.client import Identity, PeerClient
from vouchd.cloning.membership import own_member
from vouchd.core.facts import Member

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

    def client(self, user: str | None = None, *, fingerprint: str = "") -> PeerClient:
        """A client that comes with the certificate of that user; `enterprise` stands for the members."""
        identity = None
        if user is not None:
            folder, issued = self.services.layout.root, self.users[user]
            certificate, key = folder / f"{user}.pem", folder / f"{user}.key"
            certificate.write_bytes(issued.pem)
            encryption = BestAvailableEncryption(b"secret")
            key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
            identity = Identity(certificate, key, "secret")
        return PeerClient("localhost", self.port, fingerprint or self.fingerprint, identity)


def a_clone(number: int = 2, **changes: object) -> Member:
    """An instance that would join."""
    host = f"ocsp{number}.example.org"
    facts = {"secure_port": 8443, "ee_port": 8080, "name": f"OCSP {host}", "clone": True, "joined_at": 0}
    return Member(**({"host": host, "tls_sha256": hashlib.sha256(host.encode()).hexdigest()} | facts | changes))


@contextmanager
def a_master(folder: Path, **values: str) -> Iterator[Master]:
    """A master of an embedded set whose registry has only itself."""
    with agent_port(folder, **VALUES, **values) as port:
        port.__class__ = Master
        port.services.domain.create(own_member(port.services.settings), LOCAL)
        port.publish()
        yield port
