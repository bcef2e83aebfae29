"""The agent port of a real instance folder, served from a thread, and clients that come with a certificate or none.

TLS goes by this host's clock, so all certificates here are valid now and not at `tests.pki.NOW`.
"""

from __future__ import annotations

import asyncio
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.images import Image
from tests.pki import CA, DAY, HOUR, Issued

from vouchd.agent.server import AgentServer
from vouchd.api.checks import Check
from vouchd.api.services import Services
from vouchd.clock import SystemClock
from vouchd.cloning.watermark import Watermark
from vouchd.core.facts import Epoch, Group
from vouchd.ee.counters import Snapshot
from vouchd.errors import NotFound
from vouchd.instance.certificates.signers import load_signers
from vouchd.instance.creation import NewSigner, create_instance
from vouchd.instance.locking import quiet
from vouchd.instance.report import InstanceReport, WorkerReport
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.instance.signing_sets import NamedSigners, SigningWord, write_sets
from vouchd.pkix import certs
from vouchd.processes.publication import ManifestPublication
from vouchd.service.permission import local_caller
from vouchd.service.pulling import SourceState
from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import write_key
from vouchd.sockets import bind
from vouchd.wiring import manager
from vouchd.wiring.cloning import peers, verifying
from vouchd.wiring.services import audit_keeping, open_services

LOCAL = local_caller("tests")
USERS: dict[str, tuple[Group, ...]] = {
    "administrator": (Group.ADMINISTRATORS,),
    "agent": (Group.AGENTS,),
    "auditor": (Group.AUDITORS,),
    "publisher": (Group.TRUSTED_MANAGERS,),
    "domain": (Group.DOMAIN_ADMINISTRATORS,),
    "enterprise": (Group.OCSP_ADMINISTRATORS,),
    "member of nothing": (),
}
SECONDS = 60


def issue(ca: CA, name: str, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH, **kw) -> Issued:
    """A certificate for TLS that is valid now."""
    now = int(time.time())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    extensions = ((x509.ExtendedKeyUsage([usage]), False), (names, False))
    validity = {"not_before": now - HOUR, "not_after": now + DAY} | kw
    return ca.issue(name, extensions=extensions, **validity)


def crl(ca: CA, revoked: Mapping[int, x509.ReasonFlags | None] | None = None, *, age: int = HOUR, **kw) -> bytes:
    """A CRL of `ca` that is current now, made `age` seconds ago."""
    now = int(time.time())
    return ca.crl(dict(revoked or {}), this_update=now - age, next_update=now + DAY, revoked_at=now - DAY, **kw)


@dataclass
class Reply:
    """An HTTP answer; `text` is its body decoded."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class FakeRunning:
    """The rest of a manager process: publishes when it is asked to wait for that."""

    publication: ManifestPublication
    counters: Snapshot = field(default_factory=dict)
    started_at: int = 1
    changed: object = None
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    restarts_asked_for: int = 0
    stopped: bool = False
    workers_load: bool = True

    def report(self) -> InstanceReport:
        worker = WorkerReport(0, 100 + self.restarts_asked_for, 1)
        return InstanceReport(
            1,
            self.started_at,
            ("127.0.0.1", 1),
            ("127.0.0.1", 2),
            1,
            acknowledged=True,
            workers=(worker,),
            uncovered=self.publication.current().uncovered,
        )

    def checks(self) -> tuple[Check, ...]:
        return ()

    async def snapshot(self) -> Snapshot:
        return self.counters

    async def fetch(self, source: str) -> SourceState:
        raise NotFound(f"no source {source}")

    async def restart(self) -> None:
        self.restarts_asked_for += 1

    async def stop(self) -> None:
        self.stopped = True

    async def settle(self, within_seconds: float = 5.0, epochs: Sequence[Epoch] = ()) -> bool:
        if self.workers_load:
            self.publication.publish()
        served = self.publication.current().epochs
        self.changed()
        async with self.news:
            self.news.notify_all()
        return within_seconds > 0 and all(epoch in served.get(epoch.issuing_point.authority_id, ()) for epoch in epochs)

    async def newer_than(self, revision: int) -> None:
        async with self.news:
            await self.news.wait_for(lambda: self.publication.revision() > revision)


class AgentPort:
    """The port and the instance behind it; `ca` issued all certificates and is not a CA that is answered for."""

    def __init__(self, ca: CA, services: Services, publication: ManifestPublication, users: Mapping[str, Issued]):
        self.ca = ca
        self.services = services
        self.users = dict(users)
        self.publication = publication
        self._contexts: dict[bytes, ssl.SSLContext] = {}  # by the certificate of the client
        self._kept: dict[bytes, http.client.HTTPSConnection] | None = None  # so too, where they are kept
        clock = SystemClock()
        self.keeping = audit_keeping(services.audit, None, services.settings.audit, clock)
        watermark = Watermark(services.settings.of_set.stale_seconds)
        self.peers = peers(
            services.layout, services.in_use, services.store, services.membership, tuple, clock, watermark
        )
        compare = verifying(services.layout, services.in_use, lambda: publication.state, self.peers.others)
        keys = load_signers(services.settings)
        self.proof = StartProof(0)
        self.part = manager._agent_part(services, publication, self.keeping, self.peers, compare, keys, self.proof)
        self.running = FakeRunning(publication, changed=self.part.changed)
        self.listener = bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.server: AgentServer = self.part.build(self.running, self.loop)
        self.routes = self.server.routes

    def run(self, coroutine):
        """The result of a coroutine in the port's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)

    def publish(self) -> None:
        """Serve what the store holds now, and trust whom it names."""
        self.run(self.running.settle())
        self.run(self.server.refresh())

    def records(self) -> list[tuple[str, str, str]]:
        """(event, outcome, caller) of the audit log, oldest first."""
        import json

        lines = self.services.layout.audit_log.read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [(line["event"], line["outcome"], line["caller"]) for line in entries if "event" in line]

    def facts(self) -> tuple:
        """What the store holds, to see that nothing changed."""
        store = self.services.store
        return store.authorities(), store.epochs(), store.quarantined(), store.users()

    def context(self, user: str | Issued | None) -> ssl.SSLContext:
        """A client's side of TLS, with the certificate of that user."""
        context = ssl.create_default_context(cadata=self.ca.der)
        issued = self.users[user] if isinstance(user, str) else user
        if issued is not None:
            path = self.services.layout.root / f"client-{issued.certificate.serial_number:x}.pem"
            key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(key + issued.pem)
            context.load_cert_chain(path)
        return context

    def connect(self, user: str | Issued | None = None) -> ssl.SSLSocket:
        """An open connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        return self.context(user).wrap_socket(plain, server_hostname="localhost")

    def send(self, user: str | Issued | None, *pieces: bytes) -> bytes:
        """What comes back on a connection of its own until it ends; each piece is a TLS record of its own."""
        with closing(self.connect(user)) as connection:
            for piece in pieces:
                connection.sendall(piece)
            reply = b""
            while part := connection.recv(65536):
                reply += part
            return reply

    def ask(self, method: str, path: str, user: str | Issued | None = None, *, body=None, headers=None) -> Reply:
        """One request; `body` is bytes, or a dict to be sent as a form."""
        sent = dict(headers or {})
        if isinstance(body, dict):
            body = urlencode(body).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        issued = self.users[user] if isinstance(user, str) else user
        who = issued.der if issued is not None else b""
        context = self._contexts.get(who) or self._contexts.setdefault(who, self.context(user))
        with self._connection(who, context) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    @contextmanager
    def keeping_connections(self) -> Iterator[None]:
        """Within it a client asks over the connection that it has, until the port ends it: most of a request is TLS."""
        self._kept = {}
        try:
            yield
        finally:
            for connection in self._kept.values():
                connection.close()
            self._kept = None

    @contextmanager
    def _connection(self, who: bytes, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
        if self._kept is None:
            new = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=SECONDS)
            with closing(new):
                yield new
            return
        if who not in self._kept:
            self._kept[who] = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=SECONDS)
        kept = self._kept[who]
        if kept.sock is not None and select.select([kept.sock], [], [], 0)[0]:
            kept.close()  # as the port has done
        yield kept


# What an instance has before its port is opened, beside a user for each group: the certificates of its further users.
Filling = Callable[[CA, Services], Mapping[str, Issued]]


@contextmanager
def agent_port(folder: Path, filling: Filling = lambda *_: {}, **values: str) -> Iterator[AgentPort]:
    """An instance at `folder` with a user for each group, its agent port open; `values` are CS.cfg keys.

    Its signer was issued by `ca`; CAs that it may not answer for are added and answered for all the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certs, "check_signer", lambda *_: certs.SignerFitness(own_key=True, warnings=()))
        patch.setattr(certs, "signing_end_of", lambda *_, **__: int(time.time()) + DAY)
        with _instance(folder, _prepared(filling), values) as port:
            yield port


@dataclass(frozen=True)
class Prepared:
    """An instance but for its own TLS key, by which a member is known, and those who may come to it."""

    ca: CA
    users: Mapping[str, Issued]
    image: Image


@cache
def _prepared(filling: Filling) -> Prepared:
    ca = CA.create("Staff CA")
    now = int(time.time())
    signer = ca.issue_signer(not_before=now - HOUR, not_after=now + DAY)
    users = {name: issue(ca, name) for name in USERS}
    with TemporaryDirectory() as parent:
        new = NewSigner(signer.key, "SHA256withEC", signer.certificate)
        layout = create_instance(Path(parent) / "instance", new, {"vouchd.agent.port": "0"})
        with open_services(layout, read_settings(layout)) as services:
            for name, groups in USERS.items():
                services.users.add(name.replace(" ", "-"), LOCAL, groups=groups, certificates=[users[name].der])
            users.update(filling(ca, services))
        return Prepared(ca, users, Image.of(layout.root))


@contextmanager
def _instance(folder: Path, prepared: Prepared, values: Mapping[str, str]) -> Iterator[AgentPort]:
    prepared.image.put(folder)
    layout, ca = Layout(folder.absolute()), replace(prepared.ca)
    config = cs_cfg.parse(layout.cs_cfg.read_text(encoding="utf-8"), str(layout.cs_cfg))
    layout.cs_cfg.write_text(config.with_values(dict(values)).render(), encoding="utf-8")
    server = issue(ca, "server", ExtendedKeyUsageOID.SERVER_AUTH)
    write_key(layout.alias / "sslserver.key", server.key, read_passwords(layout.password_conf)[INTERNAL])
    (layout.alias / "sslserver.pem").write_bytes(server.pem)
    with (
        open_services(layout, read_settings(layout)) as services,
        _serving(ca, services, layout, prepared.users) as port,
    ):
        yield port


async def _end_tasks() -> None:
    """A connection that was cut off in the middle of a body is read on for some seconds; nobody waits for that."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def _serving(ca: CA, services: Services, layout: Layout, users: Mapping[str, Issued]) -> Iterator[AgentPort]:
    write_sets(layout, {SigningWord(layout.signing_word, writable=True).number: NamedSigners.of(services.settings)})
    publication = ManifestPublication(
        services.store, services.indexing, layout.index, lambda: quiet(layout.ingest_lock)
    )
    publication.publish()
    port = AgentPort(ca, services, publication, users)
    thread = threading.Thread(target=port.loop.run_forever, daemon=True)
    thread.start()
    try:
        port.run(port.server.start(port.listener))
        yield port
    finally:
        port.run(port.server.stop(5))
        port.run(_end_tasks())
        port.listener.close()
        port.loop.call_soon_threadsafe(port.loop.stop)
        thread.join(SECONDS)
        port.loop.close()
