"""The agent port: TLS with client certificates, for agents, administrators, auditors and publishing CAs.

A route is registered in three steps: write `async def handler(request, caller)`; put `Route(method, path, action,
handler)` into the tuple that your module's `routes(services: Services)` returns; add that function to
`vouchd.wiring.agent.routes`. Nothing that is not in that table is answered, and nobody is let in without an action.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.admission import Admission, secured
from vouchd.agent.connection import Accepting, AgentConnection
from vouchd.agent.places import Places
from vouchd.agent.routes import Route, plain_error
from vouchd.agent.running import OnLoop
from vouchd.audit.traffic import SessionRecords
from vouchd.ee.counters import Snapshot
from vouchd.errors import NotFound, VouchdError
from vouchd.instance.certificates.tls import AgentTLS
from vouchd.settings.tcp_ports import AgentPort
from vouchd.sockets import Address
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

_TLS_SHUTDOWN_SECONDS = 5.0
_NEWCOMER_SECONDS = 1.0

CLOSING = web.AppKey("closing", asyncio.Event)  # set when the port is about to close: whoever waits, stops waiting


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
        self._places = Places(port)
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
            lambda address: AgentConnection(server, self._port, self._places, self._sessions, loop, address),
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
                while any(connection.awaited for connection in self._places):  # noqa: ASYNC110  no event tells it
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

    `changed` is called when a new state is published, `halt` when the answering shall stop (True) or go on, `withhold`
    with the ids of the CAs that are to be answered tryLater; `counted`
    are the counters of what this process answered itself.
    """

    address: Address
    build: Callable[[OnLoop, asyncio.AbstractEventLoop], AgentServer]
    changed: Callable[[], None] = lambda: None
    halt: Callable[[bool], None] = lambda _: None
    withhold: Callable[[frozenset[str], str], None] = lambda *_: None
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
