"""A set whose signing key is on a token of SoftHSM, alone or on directory servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.ds389 import HOSTS, PASSWORD, Directory, directories
from tests.softhsm import MODULE, PIN
from tests.whole.clones import CloneSet, clone_set
from tests.whole.directory_sets import NAMES, reached

from vouchd.client.inquiry import new_nonce, question, send, serial_of
from vouchd.client.response_acceptance import status_name
from vouchd.client.transport import Connection, Method
from vouchd.clock import SystemClock
from vouchd.core.facts import Transport
from vouchd.instance.lifecycle import status


class TokenSet(CloneSet):
    """A set whose signing key is on a token."""

    def on_token(self, module: Path = MODULE) -> list[str]:
        self.write("pin", PIN)
        return ["--token", "ocsp", "--module", str(module), "--pin-file", "pin"]

    def query(self, name: str, certificate: str, *, nonce: bool = True) -> str:
        """What our own client makes of the answer: verified, or the status of an error. Raises: VerificationError."""
        issuer, leaf = (
            x509.load_pem_x509_certificate((self.folder / path).read_bytes()).public_bytes(Encoding.DER)
            for path in ("lab/ca.crt", f"{certificate}.crt")
        )
        request = question(issuer, [serial_of(leaf, issuer)], nonce=new_nonce() if nonce else None)
        host, port = status(self.layout(name)).report.ee
        with Connection(f"http://{host}:{port}/") as connection:
            reply = send(connection, request)
        assert reply.exchange.http_status == 200
        if reply.response.basic is None:
            return status_name(reply.response.status)
        return reply.verify(SystemClock().now()).singles[0].status

    def etags(self, members: Sequence[str], certificate: str) -> set[str]:
        """The ETags of what the members answer over GET."""
        files = (self.folder / "lab/ca.crt", self.folder / f"{certificate}.crt")
        ca, leaf = (x509.load_pem_x509_certificate(path.read_bytes()) for path in files)
        request = ocsp.OCSPRequestBuilder().add_certificate(leaf, ca, hashes.SHA1()).build()
        tags = set()
        for name in members:
            host, port = status(self.layout(name)).report.ee
            with Connection(f"http://{host}:{port}/") as connection:
                tags.add(connection.exchange(request.public_bytes(Encoding.DER), Method.GET).header("ETag"))
        return tags

    def says_revoked(self, name: str = "m", *, nonce: bool = True) -> bool:
        return self.query(name, "bad", nonce=nonce) == "revoked"

    def tells(self, name: str = "m") -> bool:
        """Whether the state of the token is shown as one that keeps from answering."""
        return any("token ocsp" in f"{one.part} {one.cause}" for one in status(self.layout(name)).report.failing)

    def create_on_token(self, name: str, *more: str) -> None:
        """A clone of `m` that finds the signing key on the token: no file but the join token is carried."""
        words = ("--host", self.host("m")[0], "--token-out", "token")
        self.prepared = self.json("clone", "prepare", "--instance", "m", *words)
        assert (self.prepared["on_tokens"], self.prepared["file"]) == ("ocspSigningCert", None)
        host, address = self.host(name)
        self.run(
            *("clone", "create", "--instance", name, "--host", host, "--workers", "1", "--listen", address),
            *("--master", self.prepared["master"], "--fingerprint", self.prepared["fingerprint"]),
            *("--token-file", "token", "--ca", "lab", *self.on_token(), *self.ports_of(name)),
            *more,
        )


@contextmanager
def token_set(folder: Path, transport: Transport, count: int = 2) -> Iterator[tuple[TokenSet, dict[str, Directory]]]:
    """A set that has no member yet, and the directory servers for its members, by their names."""
    hosts, tls = list(HOSTS)[:count], transport is not Transport.PLAIN
    with directories(*hosts, tls=tls) as servers, clone_set(folder, TokenSet) as made:
        made.hosts = {name: (host, HOSTS[host]) for name, host in zip(NAMES, hosts, strict=False)}
        made.write("manager.password", PASSWORD)
        yield made, dict(zip(NAMES, servers, strict=False))


def directory_of(server: Directory, transport: Transport) -> list[str]:
    """The options that name the directory server of a new member."""
    return ["--directory", *reached(server, transport, "directory-"), "--directory-password-file", "manager.password"]
