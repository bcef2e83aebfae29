"""The agent port: TLS with client certificates, for agents, administrators, auditors and publishing CAs.

A route is registered in three steps: write `async def handler(request, caller)`; put `Route(method, path, action,
handler)` into the tuple that your module's `routes(services: AgentServices)` returns; add that function to
`vouchd.wiring.agent.routes`. Nothing that is not in that table is answered, and nobody is let in without an action.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from vouchd.pkix import certs
from vouchd.core.facts import Authority, AuthorityPolicy, Caller, IssuingPointId, Member
from vouchd.core.ports import Clock, MirrorStore, Store
from vouchd.core.status import ServingState
from vouchd.cloning.registry import SecurityDomain
from vouchd.errors import ConfigError, NotFound, SigningError, VouchdError
from vouchd.agent.accepting import Accepting
from vouchd.agent.admission import Admission, secured
from vouchd.agent.connection import AgentConnection
from vouchd.api.checks import Check
from vouchd.ee.in_process import InProcessAnswers
from vouchd.sockets import Address
from vouchd.agent.routes import Route, plain_error
from vouchd.threads import in_thread
from vouchd.instance.certificates.service import Certificates
from vouchd.instance.configuration import Configuration
from vouchd.settings.layout import Layout
from vouchd.cloning.membership import Membership
from vouchd.cloning.peers import Peers
from vouchd.settings.declared import AgentPort, Settings
from vouchd.instance.certificates.signers import require_signer
from vouchd.instance.certificates.tls import AgentTLS
from vouchd.cloning.verifying import Verifying
from vouchd.audit.reading import AuditReader
from vouchd.ee.counters import Snapshot
from vouchd.instance.report import ServingReport
from vouchd.audit.sessions import SessionRecords
from vouchd.service.authorities import MAX_CERTIFICATE_BYTES, Authorities
from vouchd.service.certificates import read_certificate
from vouchd.service.explaining import Explanation
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.selftests import SelfTests
from vouchd.service.users import Users

_log = logging.getLogger(__name__)

_TLS_SHUTDOWN_SECONDS = 5.0
_NEWCOMER_SECONDS = 1.0

CLOSING = web.AppKey("closing", asyncio.Event)  # set when the port is about to close: whoever waits, stops waiting

Replicate = Callable[[Member, Caller, Callable[[str], None]], None]


class Running(Protocol):
    """The running instance as the agent port shows it; all times in POSIX seconds."""

    started_at: int

    def report(self) -> ServingReport:
        """What is served now."""

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks."""

    async def snapshot(self) -> Snapshot:
        """The counters of all workers together: see ops.counters."""

    async def restart(self) -> None:
        """Have the instance restart when the answer to this request is given. Raises: VouchdError when it cannot."""

    async def settle(self, within_seconds: float = 5.0) -> bool:
        """Wait until every worker answers from what the store holds now; False when that took too long."""

    async def newer_than(self, revision: int) -> None:
        """Wait until the store has a higher revision; the caller limits the time."""


@dataclass(frozen=True, slots=True)
class AgentServices:
    """What the handlers of the agent port stand on.

    `explain(authority_id, serial, at)` tells why a serial (DER INTEGER content octets) is answered as it is; `state` is
    what is answered from now; `answers` answers OCSP requests in this process; `ingest_lock()` is to be held, in a
    thread, while a CRL is taken in. `mirror` is the store where others can follow it; `replicate(member, caller, say)`
    fills a member's directory server from this one's; `retire(member)` makes it forget one that has left;
    `master()` is the master as this member knows it, without asking the store; `peers` are the other members as
    they were seen last, and `verifying` compares this one with them.
    """

    layout: Layout
    settings: Settings
    clock: Clock
    store: Store
    permission: Permission
    authorities: Authorities
    indexing: Indexing
    ingesting: Ingesting
    users: Users
    certificates: Certificates
    configuration: Configuration
    audit_reader: AuditReader
    state: Callable[[], ServingState]
    explain: Callable[[str, bytes, int], Explanation]
    answers: InProcessAnswers
    ingest_lock: Callable[[], AbstractContextManager[None]]
    running: Running
    selftests: SelfTests
    domain: SecurityDomain
    membership: Membership
    mirror: MirrorStore | None
    replicate: Replicate
    retire: Callable[[Member], None]
    master: Callable[[], Member | None]
    peers: Peers
    verifying: Verifying

    def take_crl(self, crl: bytes, origin: str, caller: Caller) -> tuple[IssuingPointId, ...]:
        """Take a CRL in, in this thread; the issuing points that have it now. Raises: as `Ingesting.accept_crl`."""
        with self.ingest_lock():
            epochs = self.ingesting.accept_crl(crl, origin, caller, self.clock.now())
        return tuple(epoch.issuing_point for epoch in epochs)

    def add_authority(self, certificate: bytes, caller: Caller, *, label: str = "") -> Authority:
        """Answer for the CA of `certificate` (DER, PEM or base64) if a signer of this instance may.

        Raises: ConfigError when none may, or it is no CA certificate; PermissionDenied.
        """
        certificate_der, parsed = read_certificate(certificate, MAX_CERTIFICATE_BYTES)
        identifier = certs.authority_id(parsed)
        policies = {known.id: known.policy for known in self.store.authorities()}
        self.require_signer(Authority(identifier, certificate_der, label, policies.get(identifier, AuthorityPolicy())))
        return self.authorities.add(certificate, caller, label=label)

    def require_signer(self, authority: Authority) -> None:
        """Check that a signer of this instance may answer for the CA: with one that none may it would not start again.

        Raises: ConfigError.
        """
        try:
            require_signer(self.settings, authority, self.clock.now())
        except SigningError as error:  # here it is the CA that does not fit, not the signer
            raise ConfigError(f"no signer of this instance may answer for it: {error}", hint=error.hint) from error


class AgentServer:
    """Serves the routes on a listening socket that somebody else bound, and goes with changes of trust.

    `trusted` reads the certificates (DER) that client certificates may end in: see instance.tls.
    """

    def __init__(
        self,
        port: AgentPort,
        tls: AgentTLS,
        trusted: Callable[[], Iterable[bytes]],
        admission: Admission,
        routes: Sequence[Route],
        sessions: SessionRecords,
    ) -> None:
        self._port = port
        self._tls = tls
        self._trusted = trusted
        self.routes = tuple(routes)
        self._trusted_before: frozenset[bytes] | None = None
        self._runner = web.AppRunner(_application(admission, routes), access_log=None, handle_signals=False)
        self._open: set[AgentConnection] = set()
        self._sessions = sessions
        self._accepting: Accepting | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to serve on a duplicate of `listener`, which stays open for a successor."""
        await self._runner.setup()
        server = self._runner.server
        if server is None:  # pragma: no cover  set up just now
            raise AssertionError("no server")
        loop = asyncio.get_running_loop()
        self._accepting = Accepting(
            listener.dup(),
            self._tls.context,
            lambda: AgentConnection(server, self._port, self._open, self._sessions, loop),
            handshake_seconds=self._port.header_seconds,
            shutdown_seconds=_TLS_SHUTDOWN_SECONDS,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, finish what is under way, at most for `grace_seconds`."""
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        if self._runner.server is not None:
            await self._hear_newcomers()
            self._runner.app[CLOSING].set()
            self._runner.server.pre_shutdown()
            await self._runner.server.shutdown(grace_seconds)
        await self._runner.cleanup()

    async def _hear_newcomers(self) -> None:
        """Let connections that were taken just now bring their request: they cannot know that it is late."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NEWCOMER_SECONDS):
                while any(connection.awaited for connection in self._open):  # noqa: ASYNC110  no event tells it
                    await asyncio.sleep(_NEWCOMER_SECONDS / 100)

    async def refresh(self) -> None:
        """Let handshakes from now on trust what the store holds now; on an error what was trusted stays so."""
        try:
            trusted = frozenset(await in_thread(lambda: tuple(self._trusted())))
            if trusted != self._trusted_before:
                await in_thread(lambda: self._tls.reload(trusted))
                self._trusted_before = trusted
        except VouchdError as error:
            _log.error("agent: trust not renewed: %s", error)


@dataclass(frozen=True, slots=True)
class AgentPart:
    """What the manager process needs to open the agent port.

    `changed` is called when a new state is published, `halt` when the answering shall stop (True) or go on; `counted`
    are the counters of what this process answered itself.
    """

    address: Address
    build: Callable[[Running], AgentServer]
    changed: Callable[[], None]
    halt: Callable[[bool], None] = lambda _: None
    counted: Callable[[], Snapshot] = dict


def _application(admission: Admission, routes: Sequence[Route]) -> web.Application:
    application = web.Application(client_max_size=1)  # bodies are read by the admission, as each route allows
    application[CLOSING] = asyncio.Event()
    for route in routes:
        handler = admission.guarded(route)
        if route.method == "GET":
            application.router.add_get(route.path, handler, allow_head=True)
        else:
            application.router.add_route(route.method, route.path, handler)
    application.middlewares.append(_outermost)
    return application


@web.middleware
async def _outermost(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
    """What no route answers gets an answer of the same manners."""
    try:
        response: web.StreamResponse = await handler(request)  # type: ignore[misc]
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        response = plain_error(request, NotFound(error.reason), error.status)
        if allow:
            response.headers["Allow"] = allow
    return secured(response)
